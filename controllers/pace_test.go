package controllers

import (
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestPace(t *testing.T) {
	a := reconcile.Request{NamespacedName: client.ObjectKey{Name: "a"}}
	b := reconcile.Request{NamespacedName: client.ObjectKey{Name: "b"}}
	now := time.Unix(0, 0)
	p := newPace(func() time.Time { return now }, time.Second/2)
	if rest := p.rest(a); rest != 0 {
		t.Errorf("the first work waits %v", rest)
	}
	done := p.begin(a)
	now = now.Add(time.Second)
	done()
	if rest := p.rest(a); rest != restPerWork*time.Second {
		t.Errorf("after a second of work: %v", rest)
	}
	if rest := p.rest(b); rest != 0 {
		t.Errorf("another object waits %v", rest)
	}
	now = now.Add(restPerWork * time.Second)
	if rest := p.rest(a); rest > 0 {
		t.Errorf("after the rest: %v", rest)
	}
	p.begin(a)()
	if rest := p.rest(a); rest != time.Second/2 {
		t.Errorf("after next to no work: %v", rest)
	}
	p.begin(a) // and it fails
	now = now.Add(time.Second)
	if rest := p.rest(a); rest > 0 {
		t.Errorf("after a failure: %v", rest)
	}
}
