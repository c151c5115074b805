# Each of the three programs is an image of its own:
#
#   docker build --build-arg PROGRAM=manager -t sojourn-manager:latest .
#   docker build --build-arg PROGRAM=prober  -t sojourn-prober:latest  .
#   docker build --build-arg PROGRAM=gateway -t sojourn-gateway:latest .

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
        -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/program \
        "./cmd/${PROGRAM:?is not set: add --build-arg PROGRAM=manager, prober or gateway}"

FROM scratch
# For https touchpoints: whom browsers trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/program /program
# A number: without /etc/passwd a name would not be seen to be other than root.
USER 65532:65532
ENTRYPOINT ["/program"]
