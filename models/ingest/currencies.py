"""Define currency codes by ISO 4217, current and retired, and their usual names."""

from typing import Final

_IN_USE: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
    CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
    HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL
    MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON
    RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX
    USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD XPF XPT XSU XUA YER ZAR
    ZMW ZWG
"""
_RETIRED: Final = """
    ANG ATS AZM BEF BYR CSD CUC CYP DEM EEK ESP FIM FRF GHC GRD HRK IEP ITL LTL LUF LVL MRO MTL MXP MZM NLG PLZ PTE ROL
    RUR SDD SIT SKK SLL SRG STD TMM TRL VEB VEF YUM ZMK ZWD ZWL
"""
CODES: Final = frozenset((_IN_USE + _RETIRED).split())

_CALLED: Final = {
    "USD": "$|US$|DOLLAR|DOLLARS|US DOLLAR|US DOLLARS",
    "EUR": "€|EURO|EUROS",
    "GBP": "£|STG|POUND STERLING|POUNDS STERLING",
    "JPY": "¥|JP¥|YEN",
    "CNY": "CN¥|RMB|YUAN",
    "CHF": "SFR|SFR.|FR.|SWISS FRANC|SWISS FRANCS",
    "CAD": "C$|CA$|CAN$",
    "AUD": "A$|AU$",
    "NZD": "NZ$",
    "HKD": "HK$",
    "SGD": "S$|SG$",
    "TWD": "NT$",
    "MXN": "MX$",
    "BRL": "R$",
    "INR": "₹",
    "KRW": "₩",
    "RUB": "₽",
    "TRY": "₺",
    "UAH": "₴",
    "VND": "₫",
    "ILS": "₪",
    "THB": "฿",
    "PHP": "₱",
    "NGN": "₦",
    "KZT": "₸",
    "PLN": "ZŁ",
    "CZK": "KČ",
    "HUF": "FT",
}
NAMES: Final = {name: code for code, names in _CALLED.items() for name in names.split("|")}
"""Signs and names in capitals → codes. `$` and `¥` stand for several currencies; a mapping can choose another."""
