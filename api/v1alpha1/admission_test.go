package v1alpha1_test

import (
	"context"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

func TestCRDs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cp, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Stop()
	if err := localstack.InstallCRDs(ctx, cp.RESTConfig(), "../../config/crd"); err != nil {
		t.Fatal(err)
	}
}
