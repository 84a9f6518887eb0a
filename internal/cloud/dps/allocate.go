package dps

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// choice is the hub that a device goes to.
type choice struct {
	link    Link
	custom  bool // a webhook chose it
	payload json.RawMessage
	twin    InitialTwin // that the webhook gave
}

// choose decides to which hub a device goes.
func (s *Service) choose(ctx context.Context, t *tenant, e *Enrollment, r *Registration) (choice, error) {
	if r.Hub != "" && e.Keep {
		if l, ok := t.Link(r.Hub); ok {
			return choice{link: l}, nil
		}
	}
	links := t.candidates(e)
	policy := e.Allocation
	if policy == "" {
		policy = t.Allocation
	}
	if len(links) == 0 {
		return choice{}, &failure{code: FailedNoHub, msg: "no hub is linked to the provisioning service that takes the device"}
	}
	switch policy {
	case Custom:
		return s.custom(ctx, t, e, r, links)
	case Static:
		return choice{link: links[0]}, nil
	default:
		return choice{link: hashed(links, r.ID)}, nil
	}
}

// candidates returns the hubs that an enrollment chooses from: those it names, in
// its order, or all that take part in allocations.
func (i *Instance) candidates(e *Enrollment) (links []Link) {
	if len(e.Hubs) > 0 {
		for _, h := range e.Hubs {
			if l, ok := i.Link(h); ok {
				links = append(links, l)
			}
		}
		return links
	}
	for _, l := range i.Links {
		if !l.Excluded {
			links = append(links, l)
		}
	}
	return links
}

// hashed returns the hub that a registration id belongs to, by weighted
// rendezvous hashing: each gets its share of the devices, and one more hub takes
// over its share and moves no other.
func hashed(links []Link, id string) Link {
	best := slices.MaxFunc(links, func(a, b Link) int {
		x, y := score(a, id), score(b, id)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return strings.Compare(a.Host, b.Host)
	})
	return best
}

func score(l Link, id string) float64 {
	sum := sha256.Sum256([]byte(l.Host + "\x00" + fold(id)))
	// Uniform within (0, 1).
	u := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53)
	return -float64(max(1, l.Weight)) / math.Log(u)
}
