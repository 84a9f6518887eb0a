package hubtest

import (
	"context"
	"sync"

	"github.com/causeway-iot/causeway"
)

// Tap is a hub in front of another. It remembers the credentials and devices
// that a head came with, for tests that look at them and call them directly.
type Tap struct {
	causeway.Hub

	mu      sync.Mutex
	devices map[causeway.Identity]causeway.Device
	creds   []causeway.Credential
	refuse  error
}

// Connect implements causeway.Hub.
func (h *Tap) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	h.mu.Lock()
	h.creds = append(h.creds, cred)
	refuse := h.refuse
	h.mu.Unlock()
	if refuse != nil {
		return nil, refuse
	}
	s, err := h.Hub.Connect(ctx, cred, dev)
	if err == nil && dev != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.devices == nil {
			h.devices = make(map[causeway.Identity]causeway.Device)
		}
		h.devices[s.Identity()] = dev
	}
	return s, err
}

// Refuse has every Connect from now on fail with err, or none for nil.
func (h *Tap) Refuse(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = err
}

// Device returns the device that id connected with last, nil for none.
func (h *Tap) Device(id causeway.Identity) causeway.Device {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.devices[id]
}

// Last returns the credential of the last Connect, of which there was one.
func (h *Tap) Last() causeway.Credential {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.creds[len(h.creds)-1]
}
