#!/bin/sh
# What CI runs for each change: says of every team's files what admission and the controllers
# would say, without a cluster.
set -eu
cd "$(dirname "$0")/.."
for team in teams/*; do
  { kubectl kustomize "$team/journeys"; echo ---; kubectl kustomize "$team/promises"; } | kubectl journey lint -
done
