package membership

import (
	"github.com/cespare/xxhash/v2"
)

// Role is what this prober is to a touchpoint.
type Role int

// Roles.
const (
	// None has nothing to do with the touchpoint.
	None Role = iota
	// Heir takes over if the owner is lost. It shows the touchpoint's series before
	// that, because Prometheus sees no increase of a counter that it has never seen.
	Heir
	// Owner probes the touchpoint.
	Owner
)

// share says, by rendezvous hashing, who owns which touchpoint: every prober
// computes the same from the same members, and of N members' touchpoints one that
// comes or goes moves only an Nth. A nil share leaves everything to nobody.
type share struct {
	self    uint64
	members []uint64 // hashes of the names of those who own, this prober perhaps among them
	// joining: this prober does not own yet, and counts only for itself.
	joining bool
}

// newShare makes the share of a prober among those who own. One who is not among
// them is joining.
func newShare(self string, owners []string) *share {
	s := &share{self: xxhash.Sum64String(self), joining: true}
	for _, owner := range owners {
		s.members = append(s.members, xxhash.Sum64String(owner))
		s.joining = s.joining && owner != self
	}
	if s.joining {
		s.members = append(s.members, s.self)
	}
	return s
}

// role of this prober for the touchpoint of a UID. A joining one prepares for what
// will be its own, as an heir.
func (s *share) role(uid string) Role {
	if s == nil {
		return None
	}
	touchpoint := xxhash.Sum64String(uid)
	mine := weight(s.self, touchpoint)
	ahead := 0
	for _, member := range s.members {
		if member != s.self && weight(member, touchpoint) > mine {
			ahead++
		}
	}
	switch {
	case ahead == 0 && !s.joining:
		return Owner
	case ahead <= 1:
		return Heir
	}
	return None
}

// weight mixes two hashes as SplitMix64 ends: their plain sum or difference would
// rank members alike for touchpoints alike.
func weight(member, touchpoint uint64) uint64 {
	x := member ^ touchpoint
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
