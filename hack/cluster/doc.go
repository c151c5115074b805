// Package cluster runs a whole Kubernetes cluster of one node on this machine, with Pods:
// a control plane, a kubelet and kube-proxy built from source, Debian's containerd, runc
// and CNI plugins, and CoreDNS as a Pod. It needs root and Linux, and nothing of it is
// left when the process ends: see [Isolate].
//
// Images are made of static programs by hack/release; no registry is asked.
package cluster
