package main

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	eventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
)

// secrets keeps the sources as the Secrets of some namespaces say.
type secrets struct {
	sources.Sources
	// watch is nil where no namespace is named: there is nothing to know.
	watch *watch
	log   *slog.Logger
	// sink takes what the recorder says of a Secret to its owner, as an Event.
	sink     events.EventBroadcaster
	recorder events.EventRecorder
}

// watchSecrets prepares a watch of the sources' Secrets, and of no other.
func watchSecrets(ctx context.Context, config *rest.Config, namespaces []string, log *slog.Logger) (*secrets, error) {
	s := &secrets{log: log}
	if len(namespaces) == 0 {
		return s, nil
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	client, err := eventsv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("preparing events: %w", err)
	}
	s.sink = events.NewBroadcaster(&events.EventSinkImpl{Interface: client})
	s.recorder = s.sink.NewRecorder(scheme, "sojourn-gateway")
	of := cache.ByObject{
		Namespaces: inNamespaces(namespaces),
		Field:      fields.OneTermEqualSelector("type", string(sources.SecretType)),
		Transform:  keepData,
	}
	s.watch, err = newWatch(ctx, config, scheme, corev1.SchemeGroupVersion.WithKind("Secret"), &corev1.Secret{}, of, log, toolscache.ResourceEventHandlerFuncs{
		AddFunc:    s.set,
		UpdateFunc: func(_, object any) { s.set(object) },
		DeleteFunc: s.remove,
	})
	return s, err
}

// Start watches until ctx ends.
func (s *secrets) Start(ctx context.Context) error {
	if s.watch == nil {
		return nil
	}
	if err := s.sink.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	defer s.sink.Shutdown()
	return s.watch.Start(ctx)
}

// Ready returns nil once all sources were read, and otherwise what keeps them from it.
func (s *secrets) Ready() error {
	if s.watch == nil {
		return nil
	}
	return s.watch.Ready()
}

func (s *secrets) set(object any) {
	secret := object.(*corev1.Secret)
	if err := s.Set(secret); err != nil {
		s.log.Error("a source cannot be used: correct the Secret", "namespace", secret.Namespace, "secret", secret.Name, "error", err)
		s.recorder.Eventf(secret, nil, corev1.EventTypeWarning, "Unusable", "ReadSource", "nobody may deliver with this Secret until it is corrected: %v", err)
		return
	}
	s.log.Info("source", "namespace", secret.Namespace, "secret", secret.Name)
}

func (s *secrets) remove(object any) {
	key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return
	}
	namespace, name, _ := toolscache.SplitMetaNamespaceKey(key)
	s.Remove(types.NamespacedName{Namespace: namespace, Name: name})
}

// keepData drops everything of a Secret but what a source is made of: annotations may
// hold the whole of it once more.
func keepData(object any) (any, error) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return object, nil
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: secret.Namespace, Name: secret.Name, UID: secret.UID, ResourceVersion: secret.ResourceVersion,
		},
		Type: secret.Type,
		Data: secret.Data,
	}, nil
}
