# Makes .venv in this checkout from the lock and puts its commands first on PATH: the verbs source this file.
# With SETUP=run it installs what Operis runs on, else also what its tests and checks need. PYTHON names another interpreter.
# Nothing is written outside the checkout but Debian packages that are missing. A second call takes milliseconds.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit
unset PYTHONHOME PYTHONPATH

setup_fail() { # WHAT HAPPENED AND WHAT TO DO
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

setup_debian() { # PACKAGE…
    local as=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || setup_fail "missing: $*." "Install them as root (apt-get install $*), then run this again."
        as=(sudo)
        # Where nobody can type a password, fail at once rather than wait for one.
        [ -t 0 ] || as=(sudo -n)
    fi
    command -v apt-get >/dev/null || setup_fail "missing: $*, and this is no Debian." "Install what holds them here, then run this again."
    printf 'setup: installing %s\n' "$*" >&2
    {
        "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
            "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    } </dev/null >&2 || setup_fail "could not install: $*." "See the message above; as root, 'apt-get install $*' brings them. Then run this again."
}

setup_suits() { # INTERPRETER
    "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

setup_python() { # prints the path of the interpreter to use
    local name
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
        if setup_suits "$name"; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

setup_tools() { # installs the commands that tasks and tests call
    local missing=()
    if [ "${SETUP:-dev}" = dev ]; then
        command -v git >/dev/null || missing+=(git)
        command -v ip >/dev/null || missing+=(iproute2)
        # It fetches the pages that browser tasks are tried on.
        command -v npm >/dev/null || missing+=(npm)
    fi
    command -v ps >/dev/null || missing+=(procps)
    [ ${#missing[@]} -eq 0 ] || setup_debian "${missing[@]}"
}

setup_browser() { # installs what browser tasks run in, and a font for their pages
    local missing=() name
    for name in chromium-headless-shell chromium; do
        command -v "$name" >/dev/null && break
    done || if ! compgen -G "$HOME/.cache/ms-playwright/chromium*" >/dev/null; then
        if ! command -v apt-get >/dev/null; then
            printf 'setup: %s\n' "no Chromium here, and this is no Debian: browser tasks fail until there is one." \
                "Install Chromium, or call '.venv/bin/playwright install chromium', then go on." >&2
            return
        fi
        # The shell alone starts in half the time; older releases have the whole browser only.
        name=chromium-headless-shell
        apt-cache show "$name" >/dev/null 2>&1 || name=chromium
        missing+=("$name")
    fi
    [ -n "$(find -L /usr/share/fonts /usr/local/share/fonts -name '*.[ot]tf' -print -quit 2>/dev/null)" ] || missing+=(fonts-dejavu-core)
    [ ${#missing[@]} -eq 0 ] || setup_debian "${missing[@]}"
}

setup_venv() { # LOCK
    # pip asks the compilers that it finds on PATH for their versions, and some then write to the user's home.
    local python clean=(env PATH=/usr/bin:/bin)
    if ! python=$(setup_python); then
        [ -z "${PYTHON:-}" ] || setup_fail "PYTHON=$PYTHON is no Python 3.11 to 3.13 with venv and ensurepip." "Name another, or unset it."
        setup_debian python3 python3-venv
        python=$(setup_python) || setup_fail "no Python 3.11 to 3.13 here, only $(python3 -V 2>&1)." "Install one and name it: PYTHON=/path/to/python3."
    fi
    printf 'setup: installing %s into .venv\n' "$1" >&2
    # An environment that was moved, or whose interpreter is gone or another, cannot be mended: its commands hold its old path.
    if [ "$(cat .venv/.made-for 2>/dev/null)" != "$root ${PYTHON:-}" ] || ! setup_suits .venv/bin/python; then
        rm -rf .venv
        "${clean[@]}" "$python" -m venv .venv || setup_fail "$python could not make .venv." "See its message above."
        printf '%s %s\n' "$root" "${PYTHON:-}" >.venv/.made-for
    fi
    local pip=("${clean[@]}" .venv/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-cache-dir)
    {
        "${pip[@]}" --require-hashes --only-binary :all: --requirement "$1" &&
            "${pip[@]}" --no-deps --no-build-isolation --editable .
    } >&2 || setup_fail "pip could not install $1 into .venv." "See its message above; the next call begins where this one ended."
}

setup() {
    local lock=requirements-dev.lock stamp
    [ "${SETUP:-dev}" = run ] && lock=requirements.lock
    setup_tools
    setup_browser
    stamp=$(cat pyproject.toml requirements.lock requirements-dev.lock scripts/setup.sh <(printf '%s' "$root ${PYTHON:-}") | sha256sum)
    # What the tests need holds all that Operis runs on.
    if [ -x .venv/bin/python ]; then
        [ "$(cat .venv/.stamp-dev 2>/dev/null)" = "$stamp" ] && return
        [ "$lock" = requirements.lock ] && [ "$(cat .venv/.stamp-run 2>/dev/null)" = "$stamp" ] && return
    fi
    mkdir -p .run
    # Two verbs that start together must not install into one environment at a time.
    exec 9>.run/setup.lock
    flock 9
    if [ "$(cat ".venv/.stamp-${SETUP:-dev}" 2>/dev/null)" != "$stamp" ]; then
        rm -f .venv/.stamp-run .venv/.stamp-dev
        setup_venv "$lock"
        printf '%s\n' "$stamp" >".venv/.stamp-${SETUP:-dev}"
    fi
    exec 9>&-
}

setup
export VIRTUAL_ENV=$root/.venv PATH=$root/.venv/bin:$PATH
