package membership

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func names(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("sojourn-prober-6d5f9c7b8-%05d", i))
	}
	return all
}

func uid(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i*7919, i) }

// Every touchpoint has one owner and one heir, all get about the same number, and
// when one goes its heirs take over and nothing else moves.
func TestShares(t *testing.T) {
	const touchpoints = 10_000
	for _, n := range []int{1, 2, 3, 10} {
		members := names(n)
		shares := map[string]*share{}
		for _, member := range members {
			shares[member] = newShare(member, members)
		}
		owned := map[string]int{}
		for i := range touchpoints {
			var owner, heir []string
			for member, share := range shares {
				switch share.role(uid(i)) {
				case Owner:
					owner = append(owner, member)
				case Heir:
					heir = append(heir, member)
				}
			}
			if len(owner) != 1 || len(heir) != min(1, n-1) {
				t.Fatalf("of %d, touchpoint %d has owners %v and heirs %v", n, i, owner, heir)
			}
			owned[owner[0]]++
			left := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return m == owner[0] })
			for _, member := range left {
				if is := newShare(member, left).role(uid(i)) == Owner; is != slices.Contains(heir, member) {
					t.Fatalf("of %d, touchpoint %d: after the loss of %s, %s owns: %t, heir was %v", n, i, owner[0], member, is, heir)
				}
			}
		}
		for member, count := range owned {
			// Five standard deviations of a fair share.
			if fair := touchpoints / n; n > 1 && (count < fair-250 || count > fair+250) {
				t.Errorf("of %d, %s owns %d, want about %d", n, member, count, fair)
			}
		}
	}
}

// A newcomer prepares for exactly what it will own, and takes nothing before.
func TestNewcomerPrepares(t *testing.T) {
	members := names(4)
	before, after := newShare(members[3], members[:3]), newShare(members[3], members)
	for i := range 1000 {
		was, is := before.role(uid(i)), after.role(uid(i))
		if was == Owner || is == Owner && was != Heir || is != Owner && is != was {
			t.Fatalf("touchpoint %d: %v while joining, %v as a member", i, was, is)
		}
	}
	var nobody *share
	if nobody.role("u") != None {
		t.Error("something is to be done before the members are known")
	}
}

// group is what the API server holds, as time passes.
type group struct {
	m       *Membership
	now     time.Time
	version int
	leases  map[string]coordinationv1.Lease
}

func newGroup(self string) *group {
	return &group{
		m:   New(Options{Location: "default", Name: self, Log: slog.New(slog.DiscardHandler)}),
		now: time.Now(), leases: map[string]coordinationv1.Lease{},
	}
}

func (g *group) renew(name, step string) {
	g.version++
	lease := "sojourn-prober-default-" + name
	g.leases[lease] = coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: lease, ResourceVersion: fmt.Sprint(g.version),
		Annotations: map[string]string{annotationName: name, annotationStep: step},
	}}
	if name == g.m.Name {
		g.m.renewed = g.now
	}
}

func (g *group) look(t *testing.T, want ...string) {
	t.Helper()
	var leases []coordinationv1.Lease
	for _, lease := range g.leases {
		leases = append(leases, lease)
	}
	owners, known := g.m.judge(leases, g.now)
	if known != (want != nil) || !slices.Equal(owners, want) && known {
		t.Errorf("owners are %v, known: %t, want %v", owners, known, want)
	}
}

func (g *group) pass(t *testing.T, d time.Duration, each func(), want ...string) {
	t.Helper()
	for range int(d / lookEvery) {
		g.now = g.now.Add(lookEvery)
		if each != nil {
			each()
		}
		g.look(t, want...)
	}
}

func TestWhoOwns(t *testing.T) {
	g := newGroup("a")
	g.look(t) // not even our own is there
	g.renew("b", full)
	g.look(t)
	g.renew("a", joining)
	g.look(t, "b")
	g.leases["stranger"] = coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}}
	g.look(t, "b")
	g.renew("a", full)
	g.look(t, "a", "b")

	// One that falls silent is missed after its Lease, and not before.
	a := func() { g.renew("a", full) }
	g.pass(t, LeaseDuration, a, "a", "b")
	g.pass(t, 10*time.Second, a, "a")
	g.renew("b", joining)
	g.pass(t, time.Second, a, "a")
	g.renew("b", full)
	g.pass(t, time.Second, a, "a", "b")
	// One that took leave is gone at once.
	delete(g.leases, "sojourn-prober-default-b")
	g.pass(t, time.Second, a, "a")
}

// While all begin, those who have begun own.
func TestAllBegin(t *testing.T) {
	g := newGroup("a")
	g.renew("a", joining)
	g.look(t, "a")
	g.renew("b", joining)
	g.look(t, "a", "b")
	g.renew("b", full)
	g.look(t, "b")
}

// One that joins owns before its Lease says so.
func TestTakesUpFirst(t *testing.T) {
	g := newGroup("a")
	g.renew("b", full)
	g.renew("a", joining)
	g.look(t, "b")
	g.m.full = true
	g.look(t, "a", "b")
}

// After an outage of the API server nobody is taken for lost who comes back a
// little later; one that was lost meanwhile is missed all the same.
func TestOutage(t *testing.T) {
	g := newGroup("a")
	all := func() { g.renew("a", full); g.renew("b", full); g.renew("c", full) }
	all()
	g.pass(t, 10*time.Second, all, "a", "b", "c")
	g.now = g.now.Add(10 * time.Minute) // no look succeeds
	g.renew("a", full)
	g.look(t, "a", "b", "c")
	ab := func() { g.renew("a", full); g.renew("b", full) }
	g.pass(t, 4*time.Second, func() { g.renew("a", full) }, "a", "b", "c")
	g.pass(t, LeaseDuration-4*time.Second, ab, "a", "b", "c")
	g.pass(t, 2*time.Second, ab, "a", "b")

	// Reading goes well, writing does not: for the others it may be the same.
	g.pass(t, patience+renewEvery, nil, "a", "b")
	g.pass(t, 10*time.Minute, nil, "a", "b")
}

// TestJoining: whoever is not a full member yet can be relied on only if nobody else is one.
func TestJoining(t *testing.T) {
	for owners, joining := range map[string]bool{"": false, "a": true, "a b": false, "b": false} {
		m := New(Options{Name: "b", Changed: func() {}, Log: slog.New(slog.DiscardHandler)})
		if owners != "" {
			m.decide(strings.Fields(owners))
		}
		if m.Joining() != joining {
			t.Errorf("beside the owners %q, Joining is %v", owners, !joining)
		}
	}
}
