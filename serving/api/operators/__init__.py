"""Endpoints of operators: rules, previews and reports. They need the scope `admin`."""
