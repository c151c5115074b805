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
	if rest := p.rest(a); rest != time.Second/2 {
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

func TestRestEndsOnceNothingChanges(t *testing.T) {
	a := reconcile.Request{NamespacedName: client.ObjectKey{Name: "a"}}
	now := time.Unix(0, 0)
	p := newPace(func() time.Time { return now }, time.Second/2)
	work := func() {
		done := p.begin(a)
		now = now.Add(time.Second)
		done() // rests for nine seconds, or until nothing has changed for half of one
	}
	work()
	for until := 9 * time.Second; until > 0; until -= time.Second / 4 {
		want := min(time.Second/2, until)
		if rest := p.rest(a); rest != want {
			t.Errorf("a change %v before the end waits %v, want %v", until, rest, want)
		}
		now = now.Add(time.Second / 4)
	}
	if rest := p.rest(a); rest != 0 {
		t.Errorf("at the end of the rest: %v", rest)
	}
	work()
	if rest := p.rest(a); rest != time.Second/2 {
		t.Errorf("a single change waits %v", rest)
	}
	now = now.Add(time.Second / 2)
	if rest := p.rest(a); rest != 0 {
		t.Errorf("after stillness: %v", rest)
	}
}

func TestWelcome(t *testing.T) {
	a := reconcile.Request{NamespacedName: client.ObjectKey{Name: "a"}}
	b := reconcile.Request{NamespacedName: client.ObjectKey{Name: "b"}}
	now := time.Unix(0, 0)
	p := newPace(func() time.Time { return now }, time.Second/10)
	if rest := p.welcome(a, false); rest != newcomerStillness {
		t.Errorf("a new object waits %v", rest)
	}
	now = now.Add(newcomerStillness / 2)
	if rest := p.rest(a); rest != newcomerStillness {
		t.Errorf("while others arrive it waits %v", rest)
	}
	now = now.Add(newcomerStillness)
	if rest := p.rest(a); rest != 0 {
		t.Errorf("once they are there it waits %v", rest)
	}
	if rest := p.welcome(a, false); rest != 0 {
		t.Errorf("it is welcomed twice, and waits %v", rest)
	}
	p.forget(a)
	if rest := p.welcome(a, false); rest == 0 {
		t.Error("what was forgotten is not new")
	}

	if rest := p.welcome(b, true); rest != newcomerRest {
		t.Errorf("a new object that lacks something waits %v", rest)
	}
	now = now.Add(newcomerRest / 2)
	if rest := p.rest(b); rest != 0 {
		t.Errorf("whether it is there is looked for only after %v", rest)
	}
	if rest := p.welcome(b, false); rest != 0 {
		t.Errorf("once it is there, the object waits %v", rest)
	}
	now = now.Add(newcomerRest)
	if rest := p.welcome(b, true); rest > 0 {
		t.Errorf("what does not come is waited for another %v", rest)
	}
}
