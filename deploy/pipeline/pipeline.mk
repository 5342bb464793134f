# The steps from a commit to production, each a target, so that any CI can run them; .github/workflows/pipeline.yml is one that does.
# They need what they name: docker, kubectl (whose context says which cluster), cosign, curl.

VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
REGISTRY ?= localhost:5000
IMAGE := $(REGISTRY)/signalbox
STAGE ?= stage
WATCH ?= 300
PATIENCE ?= 1800
TOOLS := $(VENV)/pipeline/bin

.PHONY: image scan scan-image digests sbom push sign smoke migrate deploy gate canary annotate

$(VENV)/pipeline/packages: deploy/pipeline/requirements.txt | venv
	@$(BIN)/python -m venv $(VENV)/pipeline
	@$(TOOLS)/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

image: ## Build the service's image (VERSION=1.4.0 REGISTRY=registry.example.com)
	docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --tag $(IMAGE):$(VERSION) .

scan: $(VENV)/pipeline/packages ## Known vulnerabilities in the image's Python packages, and mistakes in the cloud templates
	$(TOOLS)/pip-audit --strict --disable-pip --require-hashes --requirement requirements.image.lock
	$(TOOLS)/cfn-lint --config-file deploy/ecs/cfn-lint.yaml

# The image leaves the engine as a file: a scanner has no business with the engine's socket. It fetches its list of
# vulnerabilities anew each time, so this runs where there is a network, and is no part of `make test`.
SCANNER ?= anchore/grype:v0.121.3
scan-image: ## Known vulnerabilities in the whole built image, Debian's packages and the interpreter too; fails on high ones with a fix
	@mkdir -p build/scan
	docker save --output build/scan/image.tar $(IMAGE):$(VERSION)
	docker run --rm --security-opt no-new-privileges --volume "$(CURDIR)/build/scan:/scan:ro" $(SCANNER) \
		docker-archive:/scan/image.tar --only-fixed --fail-on high
	@rm build/scan/image.tar

digests: venv ## Pull every image of others and write its digest behind its tag, everywhere (CLEAR=1 takes them away)
	$(BIN)/python -m stack.container.digests $(if $(CLEAR),--clear,--write)

sbom: $(VENV)/pipeline/packages ## What is in the image, as CycloneDX: build/sbom.cdx.json
	@mkdir -p build
	$(TOOLS)/cyclonedx-py requirements --output-reproducible --output-format JSON --output-file build/sbom.cdx.json requirements.image.lock

push: ## Push the image; its digest is left in build/digest
	@mkdir -p build
	docker push $(IMAGE):$(VERSION)
	docker inspect --format '{{index .RepoDigests 0}}' $(IMAGE):$(VERSION) > build/digest
	@cat build/digest

# With a key nothing goes to the public transparency log, which a private registry's images have no business in.
COSIGN_OPTIONS := $(if $(COSIGN_KEY),--key $(COSIGN_KEY) --tlog-upload=false)

sign: ## Sign the pushed image and attach the SBOM (cosign; keyless in CI, COSIGN_KEY elsewhere)
	cosign sign --yes $(COSIGN_OPTIONS) "$$(cat build/digest)"
	cosign attest --yes $(COSIGN_OPTIONS) --type cyclonedx --predicate build/sbom.cdx.json "$$(cat build/digest)"

smoke: venv ## The matrix of services × signals, against the stack of this checkout
	@$(SIGNALBOX) up --clock 20
	$(BIN)/python -m pytest tests/acceptance/test_signals.py

# kustomize is told the image in a folder of its own, so that the checkout stays as it is.
OVERLAY = build/overlay-$(STAGE)
$(OVERLAY): FORCE
	@mkdir -p $@
	@printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../../deploy/kubernetes/overlays/%s]\nimages:\n  - {name: %s, newName: %s, newTag: "%s"}\n' \
		$(STAGE) $(if $(filter dev,$(STAGE)),signalbox,registry.example.com/signalbox) $(IMAGE) $(VERSION) > $@/kustomization.yaml
.PHONY: FORCE
FORCE:

migrate: $(OVERLAY) ## Bring the schema of an environment up to date before its new version (STAGE=stage)
	kubectl --namespace signalbox delete job migrate --ignore-not-found --wait
	kubectl kustomize $(OVERLAY) | kubectl apply --server-side --force-conflicts --selector app.kubernetes.io/name=migrate -f -
	kubectl --namespace signalbox wait --for=condition=complete --timeout=600s job/migrate

deploy: $(OVERLAY) ## Apply an environment with this version (STAGE=stage), and wait for it
	kubectl kustomize $(OVERLAY) | kubectl apply --server-side --force-conflicts -f -
	for one in gateway api worker payments; do kubectl --namespace signalbox rollout status deployment/$$one --timeout=300s || exit 1; done

gate: venv ## May anything be deployed now? (PROMETHEUS_URL)
	$(SIGNALBOX) slo gate --prometheus $(PROMETHEUS_URL)

canary: venv ## One pod of the new version beside the others; then promoted or rolled back (PROMETHEUS_URL, WATCH, PATIENCE)
	$(SIGNALBOX) rollout $(VERSION) --image $(IMAGE):$(VERSION) --prometheus $(PROMETHEUS_URL) --watch $(WATCH) --patience $(PATIENCE)

annotate: ## Write on every dashboard what happened (TEXT, GRAFANA_URL, GRAFANA_TOKEN)
	@curl --fail --silent --show-error --header "Authorization: Bearer $${GRAFANA_TOKEN:?}" --header 'Content-Type: application/json' \
		--data '{"tags":["deploy","signalbox"],"text":"signalbox $(VERSION) ($(REVISION)): $(TEXT)"}' $(GRAFANA_URL)/api/annotations
