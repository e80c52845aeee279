# Gatepost. Two commands matter: "make run" and "make test". "make help" lists
# the others. Everything that is missing is installed by name; see README.md.

SHELL   := /bin/bash
GO      ?= go
TOOLS   := build/tools
export PATH := $(PATH):/usr/sbin:/sbin

# Arguments for the lab, e.g. make run ARGS="-fresh".
ARGS ?=

.PHONY: torture help browser screenshots reproducible run test e2e check unit kill bench bench-profile arch lint vuln fuzz image lock list setup setup-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## boot the appliance in QEMU inside the simulated internet
	@$(GO) build -o build/gatepost-lab ./cmd/gatepost-lab
	@exec build/gatepost-lab run $(ARGS)

test: setup-test check browser e2e torture reproducible ## every test: lint, house, unit and lab under -race, browser, QEMU end to end, the image twice

check: setup-test lint arch unit ## all tests that need no QEMU

e2e: setup-test ## the tests in QEMU alone
	$(GO) test -c -tags e2e -o build/e2e.test ./cmd/gatepost-lab
	build/e2e.test -test.timeout 25m -test.v -test.run '^TestE2E'

BROWSER_NEEDS := chromium:chromium
PREVIEW := $(CURDIR)/build/preview
browser: ## every page in a real browser: accessibility, widths, console
	@.ci/need $(BROWSER_NEEDS)
	rm -rf build/preview
	GATEPOST_PREVIEW=$(PREVIEW) $(GO) test -count=1 -run '^TestPreview$$' ./webui
	$(GO) -C webui/browsertest test -count=1 -timeout 10m -v -run '^TestPages$$' ./... -args -pages $(PREVIEW)

screenshots: ## a picture of every page: light, dark and 320 pixels wide, in build/screenshots
	@.ci/need $(BROWSER_NEEDS)
	rm -rf build/preview build/screenshots
	GATEPOST_PREVIEW=$(PREVIEW) $(GO) test -count=1 -run '^TestPreview$$' ./webui
	$(GO) -C webui/browsertest test -count=1 -timeout 10m -run '^TestScreenshots$$' ./... -args -pages $(PREVIEW) -screenshots $(CURDIR)/build/screenshots
	@echo "build/screenshots/index.html"

# The power of the real image is cut N times. SEED repeats a run as far as the
# machine's speed lets it.
SEED ?= 0
torture: N := $(if $(filter command line environment,$(origin N)),$(N),5)
torture: setup-test build/bench/gatepost-lab ## cut the power N times (5) while mail flows and settings are saved
	@build/bench/gatepost-lab torture -n $(N) -seed $(SEED)

unit: setup-test ## unit and lab tests with the race detector
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v '^gatepost$$')

N ?= 1000
kill: setup-test build/bench/gatepost ## kill -9 the relay at N random points, with Postfix behind it (root)
	$(GO) test -count=1 -timeout 40m -v -run '^TestKill$$' ./cmd/gatepost-lab -args -kills $(N) -gatepost $(CURDIR)/build/bench/gatepost

# The binary is built as the image has it. BENCH adds options, see
# "gatepost-lab bench -help".
BENCH ?=
bench: setup-test build/bench/gatepost build/bench/gatepost-lab ## Gatepost beside Postfix: speed, CPU, memory, disk (root, ten minutes)
	@build/bench/gatepost-lab bench $(BENCH)

bench-profile: setup-test build/bench/gatepost-lab ## where the time of Gatepost goes in the run with 50 clients
	@build/bench/gatepost-lab bench -profile build/bench/cpu.prof $(BENCH)

.PHONY: build/bench/gatepost build/bench/gatepost-lab
build/bench/gatepost:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./cmd/gatepost
build/bench/gatepost-lab:
	CGO_ENABLED=0 $(GO) build -o $@ ./cmd/gatepost-lab

arch: ## the tests of the house: arrows, doors, sizes
	$(GO) test -count=1 -run Arch .

lint: $(TOOLS)/.stamp ## vet, staticcheck, gofumpt, deadcode, vulnerabilities
	$(GO) vet -tags e2e ./...
	$(GO) vet -tags hooks ./appliance
	$(TOOLS)/staticcheck -tags e2e ./...
	@out="$$($(TOOLS)/gofumpt -l $$(git ls-files '*.go'))"; if [ -n "$$out" ]; then echo "not formatted (gofumpt):"; echo "$$out"; exit 1; fi
	@out="$$($(TOOLS)/deadcode -test -tags e2e ./... )"; if [ -n "$$out" ]; then echo "code that nothing reaches:"; echo "$$out"; exit 1; fi
	@$(MAKE) --no-print-directory vuln

# The database is not part of the repository: VULNDB names an archive of it.
VULNDB ?= ../shared/vulndb.tar.xz
vuln: $(TOOLS)/.stamp ## known vulnerabilities in what is linked, where the database is at hand
	@if [ -f "$(VULNDB)" ]; then \
		rm -rf build/vulndb && mkdir -p build/vulndb && tar -xJf "$(VULNDB)" -C build/vulndb --no-same-owner && \
		$(TOOLS)/govulncheck -db "file://$(CURDIR)/build/vulndb" ./cmd/gatepost; \
	else echo "vulnerability check left out: no database at $(VULNDB)"; fi

FUZZTIME ?= 20s
fuzz: setup-test ## each fuzz target for FUZZTIME
	@set -e; for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

PROFILE ?= qemu-virt
image: setup ## build every artefact of the image into build/image (PROFILE=raspi3b for another board)
	@$(GO) run ./cmd/gatepost-image build -profile $(PROFILE)

# PLANT=1 puts a mistake into one of the two builds, to see that it is named.
reproducible: setup-test ## build the image twice in different surroundings and compare every artefact
	@.ci/reproducible

lock: setup ## take the newest kernel and boot stub into the lock file
	$(GO) run ./cmd/gatepost-image lock

list: ## the domains of the simulated internet
	@$(GO) run ./cmd/gatepost-lab -list

# Development tools, pinned in a module of their own.
$(TOOLS)/.stamp: .ci/go.mod .ci/go.sum
	$(GO) -C .ci build -o ../$(TOOLS)/ tool
	@touch $@

# What must be installed, as command:package. No package is asked for whose
# command is there.
RUN_NEEDS  := qemu-system-aarch64:qemu-system-arm mke2fs:e2fsprogs dpkg-deb:dpkg git:git
TEST_NEEDS := $(RUN_NEEDS) qemu-io:qemu-utils gcc:gcc ld:binutils swaks:swaks xz:xz-utils postfix:postfix \
	sgdisk:gdisk fsck.vfat:dosfstools mtype:mtools dnsmasq:dnsmasq-base avahi-daemon:avahi-daemon faketime:faketime diffoscope:diffoscope-minimal

setup:
	@.ci/need $(RUN_NEEDS)

setup-test:
	@.ci/need $(TEST_NEEDS)

clean: ## remove everything that was built (downloads stay in the cache)
	rm -rf build
