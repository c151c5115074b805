#!/bin/sh
# What the pipeline of an application runs before it releases: every budget along the journey
# has a fifth left, and no alert fires. Ends with 1 and says why not, or with 2 if that cannot
# be found out.
set -eu
kubectl journey gate journey/online-purchase --namespace shop --min-budget 20%
