package cloudhub

import "github.com/causeway-iot/causeway"

// endGroundless ends the sessions that the hub vouched for and no longer does.
// One that is being opened looks for itself.
func (h *Hub) endGroundless(was *settings) {
	s, gone := h.current.Load(), false
	for g := range was.grounds {
		gone = gone || !s.grounds[g]
	}
	if !gone {
		return
	}
	for _, x := range h.presence.All() {
		if !s.vouches(x.proof.Load().grounds) {
			x.end(groundless(x.id), true)
		}
	}
}

// vouches reports whether a proof on these grounds still holds.
func (s *settings) vouches(grounds string) bool { return grounds == "" || s.grounds[grounds] }

func groundless(id causeway.Identity) *causeway.Error {
	return causeway.Errorf(causeway.IotHubUnauthorized, "cloudhub",
		"%s: the policy's key or the authority that its proof rests on is no longer registered; connect again if you still may", id)
}
