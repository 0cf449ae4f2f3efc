# What the scripts tests/system/docker and tests/system/systemd share: checks that are counted, and waiting. Sourced.
# shellcheck shell=bash

passed=0
failed=0
skipped=0

# check WHAT COMMAND...: one test.
check() {
    local what=$1
    shift
    if "$@"; then
        echo "ok      $what"
        passed=$((passed + 1))
    else
        echo "FAILED  $what: $*"
        failed=$((failed + 1))
    fi
}

skip() {
    echo "skipped $1: $2"
    skipped=$((skipped + 1))
}

note() {
    echo "        $1"
}

# Prints the last line; the exit status is that of the whole script.
print_counts() {
    echo "$SECONDS s"
    echo "$passed passed, $failed failed$([ $skipped -eq 0 ] || echo ", $skipped skipped")"
    [ $failed -eq 0 ]
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

equal() {
    [ "$1" = "$2" ] || { note "is \"$1\", should be \"$2\""; false; }
}

# Commands that cannot be found, one per line.
missing_commands() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
}
