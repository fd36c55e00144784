# rblock: `make run` shows what it does, `make test` proves it. Both install what they need on Debian.

PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift
SHELL := /bin/bash
# Builds for debugging are optimised where images are read and written: see Package.swift.
export RBLOCK_OPTIMIZE := 1
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# To build: pkg-config and the headers of the libraries. To run: fuse3. To test: qemu-img and qemu-io to compare with,
# file systems to put into images, the small tools that people use on a mount, a browser for the pages of inspect and
# diff, 7-Zip to read VHD and VDI, and a second reader of VMDK, which comes from the Python package index into a folder of its own. To boot disks, on
# the machines that the boot loader is for: a PC of QEMU's, and a kernel that is unpacked into such a folder too;
# installed, it would change how this machine boots. To measure, and to test that: the peers (qemu-storage-daemon,
# nbdfuse, vmdkmount, qcowmount, qemu-nbd, nbdkit), and what makes and mounts a guest's file system.
BUILD_PACKAGES := pkg-config libfuse3-dev fuse3 mount libdeflate-dev zlib1g-dev libzstd-dev libssl-dev libexpat1-dev
PEER_PACKAGES := qemu-utils qemu-system-common libnbd-bin libvmdk-utils libqcow-utils nbdkit
TEST_PACKAGES := $(PEER_PACKAGES) e2fsprogs ewf-tools 7zip fdisk mount util-linux attr jq python3 zstd procps python3-venv dosfstools \
	xfsprogs btrfs-progs exfatprogs mtools strace zsh fish bsdextrautils openssl python3-libnbd gnutls-bin curl chromium \
	mandoc man-db groff-base xorriso genisoimage
ifeq ($(shell dpkg --print-architecture 2>/dev/null),amd64)
TEST_PACKAGES += qemu-system-x86 syslinux syslinux-common busybox-static cpio
BOOT_KERNEL := .build-kernel/boot
endif
BENCH_PACKAGES := $(PEER_PACKAGES) e2fsprogs fdisk mount util-linux xfsprogs kmod libguestfs-tools qemu-system-x86
PYTHON_PACKAGES := dissect.hypervisor==3.21 dissect.cstruct==4.7 dissect.util==3.24 defusedxml==0.7.1
SECOND_READER := .build-python/dissect.hypervisor-3.21

.PHONY: all deps deps-test deps-bench build release run test test-unit test-programs test-modules build-sanitizers \
	build-threads test-threads build-fuzz fuzz fuzz-shortly crash soak bench docs format lint install packages deb tarball \
	test-packages clean

all: build

# Installs the packages of $(1) that are missing, and says nothing when none is.
define install_missing
	@missing=""; for package in $(1); do \
		dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

deps:
	$(call install_missing,$(BUILD_PACKAGES))

deps-test: deps
	$(call install_missing,$(TEST_PACKAGES))
	@$(MAKE) -s $(SECOND_READER) $(BOOT_KERNEL)

# A file named after the version says that all of it is there.
$(SECOND_READER):
	@echo "installing $(firstword $(PYTHON_PACKAGES)) into $(@D)"
	@rm -rf $(@D)
	@/usr/bin/python3 -m venv $(@D)
	@$(@D)/bin/pip install -q --disable-pip-version-check $(PYTHON_PACKAGES)
	@touch $@

# The kernel that the boot test boots.
.build-kernel/boot:
	@echo "unpacking Debian's kernel for clouds into $(@D)"
	@rm -rf $(@D) && mkdir $(@D)
	@$(SUDO) apt-get update -qq
	@cd $(@D) && apt-get download -qq -o APT::Sandbox::User=root \
		"$$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-\)/\1/p' | head -n 1)"
	@cd $(@D) && dpkg-deb -x linux-image-*.deb unpacked && mv unpacked/lib . && mv unpacked/boot . && \
		rm -r unpacked linux-image-*.deb

deps-bench: deps
	$(call install_missing,$(BENCH_PACKAGES))

build: deps
	$(SWIFT) build

# One file to install that needs no Swift on the machine it runs on. In a folder of its own: other builds of the release
# configuration, such as that of the benchmark, are linked against Swift's shared libraries. The flags of the linker, and
# a section for each function, keep out what is not used or is there twice, and Packaging/discard.ld what nothing needs,
# and Packaging/without-foundation Foundation: without them rblock has 16 MB more. Relocations are packed, which takes glibc 2.36. No library is looked for beside the program ($ORIGIN), and no path of this machine stays in it.
# Nor does an ID of the build, which would be another each time.
STATIC := -c release --static-swift-stdlib --scratch-path .build-static --disable-local-rpath -Xswiftc -use-ld=lld \
	-Xlinker --no-export-dynamic -Xlinker -z -Xlinker pack-relative-relocs -Xlinker --icf=all \
	-Xlinker -T -Xlinker "$(CURDIR)/Packaging/discard.ld" -Xlinker --no-eh-frame-hdr \
	-Xswiftc -Xfrontend -Xswiftc -function-sections -Xcc -ffunction-sections -Xcc -fdata-sections \
	-Xcc "-ffile-prefix-map=$(CURDIR)/=" \
	-Xlinker --build-id=none
release: export RBLOCK_SMALL := 1
release: deps
	$(SWIFT) package --scratch-path .build-static resolve
	Packaging/without-foundation .build-static/checkouts/swift-argument-parser
	$(SWIFT) build $(STATIC) --product rblock
	$(SWIFT) build $(STATIC) --product rblockfs
	$(SWIFT) build $(STATIC) --product rblock-guest

run: build
	@Fixtures/show "$$($(SWIFT) build --show-bin-path)/rblockfs" Fixtures

# Runs the tests that the options $(2) choose; the output is kept in .build/$(1).log. It has thousands of lines, of several
# tests at once: what failed is printed again at the end. `swift test` would be the same, but only one at a time.
define run_tests
	mkdir -p .build; set -o pipefail; \
	NO_COLOR=1 "$$($(SWIFT) build --show-bin-path)/rblockPackageTests.xctest" --testing-library swift-testing $(2) 2>&1 \
		| tee .build/$(1).log || { $(call what_failed,.build/$(1).log); exit 1; }
endef

# Prints what failed according to the logs $(1).
define what_failed
	printf '\nWhat failed:\n'; \
	grep -a -h -E -A 4 '✘ Test .* recorded an issue' $(1) | cut -c 1-1000 | tail -n 60; \
	grep -a -h -E '✘|[Ff]atal error|error: ' $(1) | grep -a -v 'recorded an issue' | cut -c 1-400 | tail -n 20
endef

# What runs only where nothing else wants the processor. nice(1) is not enough: the compiler's processes have their own.
IDLE := chrt --idle 0

# Tests wait much of their time, for programs that they run. So two halves of them run at once, and meanwhile the programs
# with sanitizers are built; the fuzzer runs while the tests of threads wait. As each of these may fail long before the
# others end, what failed is the last that is printed.
test: deps-test
	$(SWIFT) build --build-tests
	rm -f .build/*-tests.log
	{ $(MAKE) -j 3 test-programs test-modules build-sanitizers && $(MAKE) -j 2 test-threads fuzz-shortly; } \
		|| { $(call what_failed,.build/*-tests.log); exit 1; }

fuzz-shortly:
	$(IDLE) $(MAKE) fuzz FUZZ_SECONDS=10 FUZZ_SEED=1

PROGRAM_TESTS := '^(Boot|Command|Serve)Tests\.'
test-programs:
	@$(call run_tests,program-tests,--filter $(PROGRAM_TESTS))

test-modules:
	@$(call run_tests,module-tests,--skip $(PROGRAM_TESTS))

# Tests that need neither root nor FUSE nor QEMU, and end within a minute.
UNIT_TESTS := BlockImage|ByteFormat|Catalog|Compression|ControlRPC|HostStorage|ImageFS|ImageFormats|JSON|NBDServer|OVA|PartitionTable|QCOW2|Reports|Sockets|Tidy|VDI|VHD
NO_UNIT_TESTS := Damage|Destination|DeviceFile|ImagesInside|NewQCOW2|Oracle|Writer|WriterLayout
test-unit: deps
	$(SWIFT) build --build-tests
	@$(call run_tests,unit-tests,--filter '^($(UNIT_TESTS))Tests\.' --skip '/($(NO_UNIT_TESTS))Tests\.swift')

build-sanitizers: SWIFT := $(IDLE) $(SWIFT)
build-sanitizers: build-threads build-fuzz

# Reads and looks at everything with a server that the thread sanitizer watches; whatever it reports is a failure.
TSAN := $(CURDIR)/.build-tsan
build-threads: deps
	env -u RBLOCK_OPTIMIZE $(SWIFT) build --sanitize=thread --disable-index-store --scratch-path $(TSAN) --product rblockfs

test-threads: export RBLOCKFS = $(TSAN)/debug/rblockfs
test-threads: export TSAN_OPTIONS = log_path=$(TSAN)/report
test-threads: deps-test build-threads
	rm -f $(TSAN)/report.*
	@$(call run_tests,thread-tests,--filter '^MountTests\.(Content|Stats|Change|Refusal|LiveFolder|SlowImage|UsedImage|Appliance|ReadAhead)Tests')
	@if ls $(TSAN)/report.* >/dev/null 2>&1; then cat $(TSAN)/report.*; exit 1; fi

# Coverage-guided fuzzing of everything that reads bytes of strangers, with libFuzzer and the address sanitizer. FUZZ_SECONDS
# of it for each of FUZZ_TARGETS, two at a time; what is found lies in .build-fuzz/found, and the corpora grow from run to
# run in .build-fuzz/corpus. `make fuzz FUZZ_SECONDS=3600 FUZZ_TARGETS=qcow2` looks for longer at one; FUZZ_SEED makes a run
# that can be repeated. Executions are the faster the fewer FUZZ_MODULES are covered: libFuzzer goes through all counters.
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 0
FUZZ_TARGETS ?= qcow2 qcow1 qed parallels ewf vmdk-descriptor vmdk-sparse vmdk-stream vhd vdi vhdx ova ovf manifest partitions lvm luks ext fat exfat iso nbd rpc
FUZZ_MODULES ?= BlockImage ByteFormat ClusterMap Compression ControlRPC EWF Encryption GuestFiles HostStorage ImageFormats JSON LVM NBDServer OVA \
	Parallels PartitionTable QCOW1 QCOW2 QED VDI VHD VHDX VMDK
FUZZ := $(CURDIR)/.build-fuzz
FUZZ_BUILD := -c release --sanitize=fuzzer --sanitize=address -Xswiftc -enable-testing --scratch-path $(FUZZ)
build-fuzz fuzz: export RBLOCK_FUZZ := $(FUZZ_MODULES)
build-fuzz: deps
	$(SWIFT) build $(FUZZ_BUILD) --product rblock-fuzz

fuzz: build-fuzz
	@Fixtures/fuzz/run "$$($(SWIFT) build $(FUZZ_BUILD) --show-bin-path)/rblock-fuzz" $(FUZZ) $(FUZZ_SECONDS) $(FUZZ_SEED) \
		$(FUZZ_TARGETS)

# Looks for what a power cut would lose of what is written to images, and of overlays that are made and committed: random
# scripts, each replayed up to every moment.
# `make crash CRASH='--minutes 60 --seed 1000000'` looks longer, and at others.
crash: deps
	$(SWIFT) build -c release --product rblock
	$(SWIFT) build -c release --product rblock-crash
	"$$($(SWIFT) build -c release --show-bin-path)/rblock-crash" $(CRASH)

# Writes over images for an hour or two: kills servers, has QEMU write in turn, compares with plain files. SOAK is the part of
# that which is to be done, and after a colon the seed: `make soak SOAK=0.1:7`.
SOAK ?= 1
soak: export RBLOCK_SOAK = $(SOAK)
soak: deps-test
	$(SWIFT) build --build-tests
	@$(call run_tests,soak,--filter '/Overlay(Kill|Soak)Tests\.swift')

bench: export RBLOCK_KERNEL ?= $(if $(BOOT_KERNEL),$(CURDIR)/.build-kernel)
bench: deps-bench $(BOOT_KERNEL)
	$(SWIFT) build -c release
	set -e; bench="$$($(SWIFT) build -c release --show-bin-path)/rblock-bench"; "$$bench" $(BENCH); \
	$(if $(BENCH),,"$$bench" convert; "$$bench" serve; "$$bench" write; "$$bench" files)

# The documentation of the library.
docs: deps
	mkdir -p .build/symbols
	$(SWIFT) build --target RBlock -Xswiftc -emit-symbol-graph -Xswiftc -emit-symbol-graph-dir -Xswiftc .build/symbols \
		--scratch-path .build-docs
	rm -rf .build/RBlock.symbols; mkdir -p .build/RBlock.symbols && mv .build/symbols/RBlock.symbols.json .build/RBlock.symbols
	docc convert Sources/RBlock/RBlock.docc --additional-symbol-graph-dir .build/RBlock.symbols --warnings-as-errors \
		--output-path .build/RBlock.doccarchive --fallback-display-name RBlock --fallback-bundle-identifier rblock

format:
	$(SWIFT) format -i -r Package.swift Sources Tests

lint:
	$(SWIFT) format lint --strict -r Package.swift Sources Tests

# The manual has one page for each command, and one for each verb under the name that man(1) looks for: rblock-info. They are
# made of what the programs say of themselves.
SHARE = $(DESTDIR)$(PREFIX)/share
install: release
	$(call install_missing,python3)
	install -d "$(SHARE)/man/man1" "$(SHARE)/bash-completion/completions" "$(SHARE)/zsh/site-functions" \
		"$(SHARE)/fish/vendor_completions.d" "$(SHARE)/doc/rblock" "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	set -e; folder="$$($(SWIFT) build $(STATIC) --show-bin-path)"; \
	for name in rblock rblockfs; do \
		bin="$$folder/$$name"; \
		install -D -s -m 755 "$$bin" "$(DESTDIR)$(PREFIX)/bin/$$name"; \
		"$$bin" --generate-completion-script bash >"$(SHARE)/bash-completion/completions/$$name"; \
		"$$bin" --generate-completion-script zsh >"$(SHARE)/zsh/site-functions/_$$name"; \
		"$$bin" --generate-completion-script fish >"$(SHARE)/fish/vendor_completions.d/$$name.fish"; \
	done; \
	install -D -s -m 755 "$$folder/rblock-guest" "$(DESTDIR)$(PREFIX)/libexec/rblock/rblock-guest"; \
	Documents/make-pages "$$folder/rblock" "$$folder/rblockfs" "$(SHARE)/man/man1"
	for page in Documents/rblock-*.[57]; do \
		install -D -m 644 "$$page" "$(SHARE)/man/man$${page##*.}/$${page##*/}" || exit 1; \
	done
	sed 's|@PREFIX@|$(PREFIX)|' Sources/RBlockFSCommand/Samples/rblockfs@.service \
		>"$(DESTDIR)$(PREFIX)/lib/systemd/system/rblockfs@.service"
	install -m 644 README.md SECURITY.md CHANGELOG.md Sources/RBlockFSCommand/Samples/fstab Sources/RBlockFSCommand/Samples/mnt-rb.mount "$(SHARE)/doc/rblock"

# What is installed, as packages in dist/: of Debian, for the release that it is made on, and an archive for others. Both are
# made of what lies in PACKAGES, and the test keeps the system that it installs them in there. Made again they have the same
# bytes.
PACKAGES := .build-packages
packages: deb tarball
	cd dist && sha256sum *.deb *.tar.gz >SHA256SUMS

deb:
	$(call install_missing,debhelper)
	rm -rf $(PACKAGES)/deb dist/*.deb && mkdir -p dist
	$(MAKE) install DESTDIR=$(PACKAGES)/deb/debian/rblock PREFIX=/usr
	Packaging/make-deb $(PACKAGES)/deb dist

tarball:
	rm -rf $(PACKAGES)/tarball dist/*.tar.gz && mkdir -p dist
	$(MAKE) install DESTDIR=$(PACKAGES)/tarball PREFIX=/usr/local
	Packaging/make-tarball $(PACKAGES)/tarball/usr/local dist

test-packages: packages
	$(call install_missing,lintian debootstrap fuse3)
	cp dist/SHA256SUMS $(PACKAGES)/
	$(MAKE) packages >/dev/null
	cmp $(PACKAGES)/SHA256SUMS dist/SHA256SUMS
	$(SUDO) Packaging/test-packages dist $(PACKAGES)

clean:
	$(SWIFT) package clean
	rm -rf .build .build-static .build-tsan .build-fuzz .build-python .build-kernel .build-packages dist
