# One static binary on an empty base. Build it with BuildKit (the default of every
# current Docker):
#
#   docker build -t hadir:dev --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) .
#   docker buildx build --platform linux/amd64,linux/arm64 -t hadir:dev .
#
# The build stages run on the builder's own platform and compile for the target,
# so that nothing is emulated.

FROM --platform=$BUILDPLATFORM node:22-bookworm-slim AS web
ARG NPM_CONFIG_REGISTRY
WORKDIR /src/ui
COPY ui/package.json ui/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY ui/build.mjs ui/tsconfig.json ./
COPY ui/css ./css
COPY ui/src ./src
RUN mkdir dist && npm run -s build

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG GOPROXY
ARG GOSUMDB
ARG GONOSUMDB
ARG GOPRIVATE
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
COPY --from=web /src/ui/dist ./ui/dist
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /out/hadir ./cmd/hadir
# An empty folder that belongs to the node: a new volume takes its owner from it.
RUN mkdir /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/hadir /usr/local/bin/hadir
ARG VERSION=dev
ARG COMMIT=
LABEL org.opencontainers.image.title="hadir" \
      org.opencontainers.image.description="Attendance that is never lost and never counted twice, on a cluster of nodes" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
ENV HADIR_DATA_DIR=/data
VOLUME /data
EXPOSE 8080 7400 7946 7946/udp
# The same variables as those of serve say where to ask.
HEALTHCHECK --interval=10s --timeout=4s --start-period=15s --retries=3 CMD ["/usr/local/bin/hadir", "health"]
ENTRYPOINT ["/usr/local/bin/hadir"]
CMD ["serve"]
