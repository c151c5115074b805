# Each program is an image of its own:
#
#   docker build --build-arg PROGRAM=manager -t sojourn-manager:latest .
#   docker build --build-arg PROGRAM=prober  -t sojourn-prober:latest  .
#   docker build --build-arg PROGRAM=gateway -t sojourn-gateway:latest .
#
# and so is kubectl-journey, for web pages in the cluster and gates that run as Pods:
#
#   docker build --build-arg PROGRAM=kubectl-journey --build-arg TITLE=sojourn-journey -t sojourn-journey:latest .
#
# `make push` and `make images` make the same without Docker, and with the same Go the very
# same programs.

# The compiler runs on the builder's own platform, whatever it builds for.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY api api
COPY controllers controllers
COPY cmd cmd
COPY config/crd config/crd
ARG PROGRAM
ARG VERSION=unknown
ARG TARGETOS
ARG TARGETARCH
# Without cgo the program needs no file but itself.
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build \
        -trimpath -ldflags "-s -w -buildid= -X main.version=$VERSION" -o /out/program \
        "./cmd/${PROGRAM:?is not set: add --build-arg PROGRAM=manager, prober, gateway or kubectl-journey}"

FROM scratch
ARG PROGRAM
ARG TITLE=sojourn-$PROGRAM
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="$TITLE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="https://github.com/sojourn-dev/sojourn" \
      org.opencontainers.image.licenses="Apache-2.0"
# For https touchpoints: whom browsers trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/program /program
# A number: without /etc/passwd a name would not be seen to be other than root.
USER 65532:65532
ENTRYPOINT ["/program"]
