# The steps from a commit to production, each a target, so that any CI can run them; .github/workflows/pipeline.yml is one that does.
# They need what they name: docker, kubectl (1.31 or later; its context says which cluster), cosign, curl.

VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
REGISTRY ?= localhost:5000
IMAGE := $(REGISTRY)/signalbox
STAGE ?= stage
BUILD ?= build
# A tag can be moved to another image after it was signed, a digest cannot: what is deployed is named by both.
DIGEST_FILE = $(BUILD)/digest-$(VERSION)
DIGEST ?= $(shell sed 's/.*@//' $(DIGEST_FILE) 2>/dev/null)
REFERENCE = $(IMAGE):$(VERSION)$(if $(DIGEST),@$(DIGEST))
WATCH ?= 300
PATIENCE ?= 1800
TOOLS := $(VENV)/pipeline/bin

.PHONY: image scan scan-image digests sbom push sign verify smoke smoke-deployed migrate deploy gate canary annotate by-digest

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
	@mkdir -p $(BUILD)
	$(TOOLS)/cyclonedx-py requirements --output-reproducible --output-format JSON --output-file $(BUILD)/sbom.cdx.json requirements.image.lock

push: ## Push the image; its digest is left in build/digest-VERSION
	@mkdir -p $(BUILD)
	docker push $(IMAGE):$(VERSION)
	docker inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' $(IMAGE):$(VERSION) | grep '^$(IMAGE)@' > $(DIGEST_FILE)
	@cat $(DIGEST_FILE)

by-digest:
	@case '$(DIGEST)' in sha256:?*) ;; *) \
		[ '$(STAGE)' = dev ] || { echo "signalbox: which image is $(VERSION)? Say DIGEST=sha256:…, which make push leaves in $(DIGEST_FILE)" >&2; exit 1; };; esac

# With a key nothing goes to the public transparency log, which a private registry's images have no business in.
COSIGN_OPTIONS := $(if $(COSIGN_KEY),--key $(COSIGN_KEY) --tlog-upload=false)

sign: ## Sign the pushed image and attach the SBOM (cosign; keyless in CI, COSIGN_KEY elsewhere)
	cosign sign --yes $(COSIGN_OPTIONS) "$$(cat $(DIGEST_FILE))"
	cosign attest --yes $(COSIGN_OPTIONS) --type cyclonedx --predicate $(BUILD)/sbom.cdx.json "$$(cat $(DIGEST_FILE))"

# Whose signature it must be: that of a key (COSIGN_PUBLIC_KEY), or of the workflow SIGNER, whose identity SIGNER_ISSUER vouches for.
SIGNER_ISSUER ?= https://token.actions.githubusercontent.com
SIGNED_BY = $(if $(COSIGN_PUBLIC_KEY),--key '$(COSIGN_PUBLIC_KEY)' --insecure-ignore-tlog=true,--certificate-identity '$(SIGNER)' --certificate-oidc-issuer '$(SIGNER_ISSUER)')

verify: by-digest ## Refuse an image that is not ours: its signature and its SBOM's (DIGEST; SIGNER or COSIGN_PUBLIC_KEY)
	@[ -n '$(DIGEST)' ] || { echo "signalbox: only a digest can be verified. Say DIGEST=sha256:…" >&2; exit 1; }
	@[ -n '$(SIGNER)$(COSIGN_PUBLIC_KEY)' ] || { echo "signalbox: who must have signed it? Say SIGNER=… or COSIGN_PUBLIC_KEY=…" >&2; exit 1; }
	cosign verify $(SIGNED_BY) $(IMAGE)@$(DIGEST) > /dev/null
	cosign verify-attestation $(SIGNED_BY) --type cyclonedx $(IMAGE)@$(DIGEST) > /dev/null

smoke: venv ## The matrix of services × signals, against the stack of this checkout
	@$(SIGNALBOX) up --clock 20
	$(BIN)/python -m pytest tests/acceptance/test_signals.py

smoke-deployed: venv ## The same against what was deployed (GATEWAY_URL, PROMETHEUS_URL, LOKI_URL, JAEGER_URL; docs/deploy.md)
	@for url in '$(GATEWAY_URL)' '$(PROMETHEUS_URL)' '$(LOKI_URL)' '$(JAEGER_URL)'; do \
		[ -n "$$url" ] || { echo "signalbox: say GATEWAY_URL, PROMETHEUS_URL, LOKI_URL and JAEGER_URL" >&2; exit 1; }; done
	SMOKE_GATEWAY_URL='$(GATEWAY_URL)' SMOKE_PROMETHEUS_URL='$(PROMETHEUS_URL)' SMOKE_LOKI_URL='$(LOKI_URL)' SMOKE_JAEGER_URL='$(JAEGER_URL)' \
		SMOKE_VERSION='$(VERSION)' $(BIN)/python -m pytest tests/acceptance/test_signals.py

# What an environment is made of, with this image in it. kustomize is told the image in a folder of its own, so that the checkout
# stays as it is; an overlay whose name for the image is not among these would go on with its own, hence the last line.
comma := ,
MANIFESTS = $(BUILD)/$(STAGE).yaml
OVERLAY = $(BUILD)/overlay-$(STAGE)
UP = $(shell echo $(OVERLAY) | sed 's,[^/][^/]*,..,g')
$(MANIFESTS): by-digest FORCE
	@mkdir -p $(OVERLAY)
	@printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1beta1' 'kind: Kustomization' \
		'resources: [$(UP)/$(if $(filter aks gke,$(STAGE)),deploy/$(STAGE),deploy/kubernetes/overlays/$(STAGE))]' 'images:' > $(OVERLAY)/kustomization.yaml
	@printf '  - {name: %s, newName: $(IMAGE), newTag: "$(VERSION)"$(if $(DIGEST),$(comma) digest: "$(DIGEST)")}\n' \
		signalbox registry.example.com/signalbox example.azurecr.io/signalbox europe-west3-docker.pkg.dev/example/signalbox/signalbox >> $(OVERLAY)/kustomization.yaml
	@kubectl kustomize $(OVERLAY) > $@
	@grep -q 'image: $(REFERENCE)$$' $@ || { echo "signalbox: no container of $(STAGE) got $(IMAGE); see images in its kustomization.yaml" >&2; exit 1; }
.PHONY: FORCE
FORCE:

APPLY := kubectl apply --server-side --force-conflicts
NEEDED := signalbox.dev/step=migrate,app.kubernetes.io/name!=migrate

migrate: $(MANIFESTS) ## Bring the schema of an environment up to date before its new version (STAGE=stage)
	$(APPLY) --selector '$(NEEDED)' -f $(MANIFESTS)
	kubectl --namespace signalbox wait --for=create --timeout=120s secret/signalbox
	kubectl --namespace signalbox delete job migrate --ignore-not-found --wait
	$(APPLY) --selector app.kubernetes.io/name=migrate -f $(MANIFESTS)
	kubectl --namespace signalbox wait --for=condition=complete --timeout=600s job/migrate

# Whatever does not become ready goes back to the revision that it had, if this changed it; the others stay, and this can be run again.
PARTS := gateway api worker payments
REVISION_OF := kubectl --namespace signalbox get --ignore-not-found --output jsonpath='{.metadata.annotations.deployment\.kubernetes\.io/revision}'

deploy: $(MANIFESTS) ## Apply an environment with this version (STAGE=stage), and wait for it; what fails goes back
	@before=; for one in $(PARTS); do before="$$before $$one=$$($(REVISION_OF) deployment/$$one)" || exit 1; done; \
	$(APPLY) -f $(MANIFESTS) || exit 1; failed=; \
	for pair in $$before; do one=$${pair%%=*}; was=$${pair#*=}; \
		kubectl --namespace signalbox rollout status deployment/$$one --timeout=300s && continue; \
		failed="$$failed $$one"; now=$$($(REVISION_OF) deployment/$$one); \
		if [ -z "$$was" ] || [ "$$was" = "$$now" ]; then echo "signalbox: $$one is not ready, and there is nothing to go back to" >&2; continue; fi; \
		echo "signalbox: $$one goes back to revision $$was" >&2; \
		kubectl --namespace signalbox rollout undo deployment/$$one --to-revision=$$was; \
		kubectl --namespace signalbox rollout status deployment/$$one --timeout=300s; done; \
	[ -z "$$failed" ] || { echo "signalbox: not ready with $(VERSION):$$failed" >&2; exit 1; }

gate: venv ## May anything be deployed now? (PROMETHEUS_URL)
	$(SIGNALBOX) slo gate --prometheus $(PROMETHEUS_URL)

canary: by-digest venv ## One pod of the new version beside the others; then promoted or rolled back (PROMETHEUS_URL, WATCH, PATIENCE)
	$(SIGNALBOX) rollout $(VERSION) --image $(REFERENCE) --prometheus $(PROMETHEUS_URL) --watch $(WATCH) --patience $(PATIENCE)

# The dashboards ask for notes with these tags (slo/emit/grafana/frame.py). A deploy does not fail because nobody could note it.
annotate: ## Write on every dashboard what happened (TEXT, GRAFANA_URL, GRAFANA_TOKEN)
	@if [ -z "$$GRAFANA_URL" ] || [ -z "$$GRAFANA_TOKEN" ]; then echo "Not noted on the dashboards: GRAFANA_URL or GRAFANA_TOKEN is not given."; exit 0; fi; \
	text=$$(printf '%s' "$$TEXT" | tr '\n\t' '  ' | sed 's/["\\]/\\&/g'); \
	printf 'header = "Authorization: Bearer %s"\n' "$$GRAFANA_TOKEN" | curl --config - --fail --silent --show-error --max-time 10 \
		--output /dev/null --header 'Content-Type: application/json' \
		--data "{\"tags\":[\"deploy\",\"signalbox\"],\"text\":\"signalbox $(VERSION) ($(REVISION)): $$text\"}" "$$GRAFANA_URL/api/annotations" \
	|| echo "Not noted on the dashboards: Grafana did not take it."
