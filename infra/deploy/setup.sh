#!/bin/sh
# Builds .venv from requirements.lock. It checks the requirements first, so that nothing fails halfway.
# It may be interrupted and repeated: a half-built .venv has no stamp and is built again.
set -eu

venv=.venv
stamp=$venv/.ready

say() { printf 'setup: %s\n' "$*"; }

refuse() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" && return
        refuse "PYTHON=$PYTHON is not a working Python 3.11, 3.12 or 3.13." \
            "Name another, for example: make demo PYTHON=python3.12"
    fi
    for PYTHON in python3 python3.13 python3.12 python3.11; do
        if supported "$PYTHON"; then return; fi
    done
    refuse "Tailorbird needs Python 3.11, 3.12 or 3.13, but none of python3, python3.13, python3.12 and python3.11 is one." \
        "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make demo PYTHON=/path/to/python3.12"
}

check_venv() {
    "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        refuse "$PYTHON cannot make virtual environments." \
            "Install the missing modules (Debian, Ubuntu: apt-get install python3-venv) and run the command again."
}

# LightFM has no wheel for Python 3.11, nor for Linux on processors other than x86_64: there it is compiled.
check_compiler() {
    facts=$("$PYTHON" - <<'PY'
import os, platform, sys, sysconfig
wheel = sys.version_info[:2] > (3, 11) and (sys.platform == "darwin" or platform.machine() == "x86_64")
header = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print(int(wheel), int(header), (sysconfig.get_config_var("CC") or "cc").split()[0])
PY
    )
    # shellcheck disable=SC2086 # three words on purpose
    set -- $facts
    if [ "$1" = 1 ]; then return; fi
    compiler=
    for name in ${CC:-$3 cc gcc clang}; do
        if command -v "$name" >/dev/null 2>&1; then
            compiler=$name
            break
        fi
    done
    [ -n "$compiler" ] ||
        refuse "LightFM has to be compiled for this Python ($PYTHON), and there is no C compiler." \
            "Install one (Debian, Ubuntu: apt-get install gcc libc6-dev), or on x86_64 use Python 3.12 or 3.13, which need none: make demo PYTHON=python3.12"
    [ "$2" = 1 ] ||
        refuse "LightFM has to be compiled for this Python ($PYTHON), and its header Python.h is missing." \
            "Install it (Debian, Ubuntu: apt-get install python3-dev), or on x86_64 use Python 3.12 or 3.13, which need none: make demo PYTHON=python3.12"
    CC=${CC:-$compiler}
    export CC
    say "LightFM will be compiled with $CC (about 20 seconds)"
}

install() {
    export UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}"
    python=$venv/bin/python
    if [ ! -f "$stamp" ] || ! supported "$python"; then
        say "making $venv with $("$PYTHON" -V)"
        "$PYTHON" -m venv --clear "$venv"
    fi
    rm -f "$stamp"
    say "step 1 of 3: the installer (uv)"
    awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' requirements.lock >"$venv/uv.txt"
    "$python" -m pip install --disable-pip-version-check --require-hashes -r "$venv/uv.txt"
    say "step 2 of 3: $(grep -c '^[a-z].*==' requirements.lock) locked packages, then compiling them to bytecode (half a minute, longer on a slow line)"
    "$venv/bin/uv" pip install --python "$python" --require-hashes \
        --build-constraints requirements.lock --compile-bytecode -r requirements.lock
    say "step 3 of 3: Tailorbird itself"
    "$venv/bin/uv" pip install --quiet --python "$python" --no-deps --no-build-isolation --editable .
    touch "$stamp"
    say "done"
}

choose_python
check_venv
check_compiler
[ "${1:-}" = --check ] || install
