# Say, as YAML, what is on the machine. In: $ROOT. Changes nothing.
link() { if [ -L "$ROOT/web/$1" ]; then basename "$(readlink "$ROOT/web/$1")"; fi; }

user=false
id -u linkpeek >/dev/null 2>&1 && user=true
apt=false
[ -e /usr/lib/python3/dist-packages/apt/__init__.py ] && apt=true

# Which init there is, and whether it runs (sd_booted(3); Upstart answers by its name).
init=systemd running=none
if command -v initctl >/dev/null 2>&1; then
    init=upstart
    if initctl version 2>/dev/null | grep -q upstart; then running=upstart; fi
fi
if [ -d /run/systemd/system ]; then init=systemd running=systemd; fi

echo "user: $user"
echo "apt: $apt"
echo "init: $init"
echo "running: $running"
echo "current: '$(link env)'"
echo "previous: '$(link previous)'"
echo "releases:"
found=
for complete in "$ROOT"/web/releases/*/.complete; do
    if [ -e "$complete" ]; then found=yes; echo "  - '$(basename "$(dirname "$complete")")'"; fi
done
[ -n "$found" ] || echo "  []"
