package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sojourn-dev/sojourn/hack/cluster"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// ourPrograms are those of which the chart's images are made.
var ourPrograms = []string{"manager", "prober", "gateway"}

// The tags of our images.
const (
	previousTag = "previous"
	currentTag  = "e2e"
)

// prepare builds everything that runs in the cluster, and the images.
func prepare(ctx context.Context, folder string) error {
	fmt.Println("building programs and images; the first time this takes a quarter of an hour")
	begin := time.Now()
	var images []cluster.Image
	for name, binary := range map[string]string{
		"prometheus":                 localstack.ClusterPrometheusBinary,
		"alertmanager":               localstack.AlertmanagerBinary,
		"prometheus-operator":        localstack.PrometheusOperatorBinary,
		"prometheus-config-reloader": localstack.ConfigReloaderBinary,
	} {
		path, err := localstack.Binary(ctx, binary)
		if err != nil {
			return err
		}
		// The operator names the path of its reloader.
		images = append(images, cluster.Image{Name: "images.test/local/" + name + ":1", Program: path, Entrypoint: "/bin/" + name})
	}
	if _, err := localstack.Binary(ctx, localstack.HelmBinary); err != nil {
		return err
	}
	old, _, err := previous(ctx)
	if err != nil {
		return err
	}
	for _, name := range ourPrograms {
		images = append(images, cluster.Image{
			Name:    "images.test/local/sojourn-" + name + ":" + previousTag,
			Program: filepath.Join(old, "bin", name), Certificates: true,
		})
	}
	for name, pkg := range map[string]string{
		"sojourn-manager:" + currentTag: "./cmd/manager", "sojourn-prober:" + currentTag: "./cmd/prober",
		"sojourn-gateway:" + currentTag: "./cmd/gateway", "sojourn-journey:" + currentTag: "./cmd/kubectl-journey",
		"shop:1": "./hack/demo/shop",
	} {
		// Not in the new folder: what is there and up to date need not be linked again.
		program := filepath.Join("bin", "e2e-programs", filepath.Base(pkg))
		if err := cluster.Build(ctx, ".", currentTag, program, pkg); err != nil {
			return err
		}
		images = append(images, cluster.Image{Name: "images.test/local/" + name, Program: program, Certificates: true})
	}
	if err := copyOperatorManifests(ctx, folder); err != nil {
		return err
	}
	if err := cluster.Prepare(ctx, folder, images...); err != nil {
		return err
	}
	fmt.Printf("built in %s\n", time.Since(begin).Round(time.Second))
	return nil
}

// copyOperatorManifests puts the Prometheus Operator's own manifests beside ours.
func copyOperatorManifests(ctx context.Context, folder string) error {
	module, err := localstack.PrometheusOperatorModule(ctx)
	if err != nil {
		return err
	}
	ours := filepath.Join(folder, "monitoring")
	if err := os.CopyFS(ours, os.DirFS("hack/e2e-cluster/files/monitoring")); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(ours, "operator"), os.DirFS(filepath.Join(module, "example", "rbac", "prometheus-operator"))); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(ours, "crds"), os.DirFS(filepath.Join(module, "example", "prometheus-operator-crd")))
}
