# Sourced by the scripts beside it: unpacks PACKAGE=VERSION, and what it needs and this machine has not, into a temporary
# folder that goes with the script, and puts its programs in front of PATH.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unpack() {
	mkdir -p "$work/archives/partial" "$work/root"
	apt-get install -qq --download-only --reinstall --no-install-recommends --allow-downgrades \
		-o Dir::Cache::archives="$work/archives" -o APT::Sandbox::User=root "$1" >/dev/null
	for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
	export PATH="$work/root/usr/bin:$PATH"
	echo "$1"
	export LD_LIBRARY_PATH="$work/root/usr/lib/$(gcc -print-multiarch 2>/dev/null || dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)"
}

# same WHAT SEEN EXPECTED
same() {
	printf '%s: %s\n' "$1" "$2"
	[ "$2" = "$3" ] || { printf 'this has changed: it was %s\n' "$3"; exit 1; }
}
