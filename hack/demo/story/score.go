package story

import (
	"context"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Score follows the score of the one journey of the samples, 0 to 100.
type Score struct {
	reader              client.Reader
	namespace           string
	before, lowest, now int
}

func newScore(config *rest.Config, namespace string) (*Score, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	return &Score{reader: reader, namespace: namespace, lowest: 100}, err
}

// look reads the score anew.
func (s *Score) look(ctx context.Context) error {
	var journeys v1alpha1.JourneyList
	if err := s.reader.List(ctx, &journeys, client.InNamespace(s.namespace)); err != nil {
		return err
	}
	if len(journeys.Items) != 1 {
		return fmt.Errorf("%d journeys", len(journeys.Items))
	}
	score, err := strconv.Atoi(string(journeys.Items[0].Status.Score))
	if err != nil {
		return fmt.Errorf("the journey has no score yet")
	}
	s.now, s.lowest = score, min(s.lowest, score)
	return nil
}
