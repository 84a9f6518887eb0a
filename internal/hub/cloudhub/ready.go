package cloudhub

import "github.com/causeway-iot/causeway"

// TakesMethods reports whether a client of id is connected that listens to direct
// methods, so that [Hub.Invoke] would call it now.
func (h *Hub) TakesMethods(id causeway.Identity) bool {
	id.Hub = h.name
	s, ok := h.presence.Holder(id)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes.Has(causeway.LaneMethods)
}
