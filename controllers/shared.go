package controllers

import (
	"context"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// sharedRules is where the namespace reconciler says why the rules that a namespace
// shares could not be written. They belong to no object of which the status could
// tell, and without them no ExperienceSLO there alerts: so each of them tells.
type sharedRules struct {
	mu       sync.Mutex
	failures map[string]string
	// changed gets the metadata of a namespace of which the failure changed.
	changed chan event.GenericEvent
}

func newSharedRules() *sharedRules {
	return &sharedRules{failures: map[string]string{}, changed: make(chan event.GenericEvent)}
}

// note says how writing went, and returns whether that is news.
func (s *sharedRules) note(namespace string, failure error) bool {
	text := ""
	if failure != nil {
		text = oneLine(failure)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.failures[namespace] != text
	if text == "" {
		delete(s.failures, namespace)
	} else {
		s.failures[namespace] = text
	}
	return news
}

// set says how writing went, and wakes those concerned if that is news.
func (s *sharedRules) set(ctx context.Context, namespace string, failure error) {
	if !s.note(namespace, failure) {
		return
	}
	object := namespaceMetadata()
	object.Name = namespace
	select {
	case s.changed <- event.GenericEvent{Object: client.Object(object)}:
	case <-ctx.Done():
	}
}

// problems tells what an ExperienceSLO lacks by a failure.
func (s *sharedRules) problems(namespace string) []rules.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, failed := s.failures[namespace]
	if !failed {
		return nil
	}
	return []rules.Problem{{
		Reason:  v1alpha1.ReasonWriteFailed,
		Message: "the API server did not take the rules that this namespace shares, without which nothing alerts: " + text,
	}}
}
