package dps

import (
	"context"
	"errors"
	"slices"
)

// at is where the device of r is.
func (r *Registration) at() Place { return Place{r.Hub, r.DeviceID} }

// doubt notes a place where the device may be too.
func (r *Registration) doubt(p Place) {
	if p == r.at() {
		return
	}
	r.Doubts = append(slices.DeleteFunc(slices.Clone(r.Doubts), func(d Place) bool { return d == p }), p)
	if n := len(r.Doubts) - MaxHubs; n > 0 {
		r.Doubts = r.Doubts[n:]
	}
}

// unsure notes that the device may be at p, where it could not be put for err. It
// returns err.
func (r *Registration) unsure(p Place, err error) error {
	if f, ok := errors.AsType[*failure](err); !ok || !f.untouched {
		r.doubt(p)
	}
	return err
}

// resolve takes a device that was assigned from the places that may have it too.
// While a hub does not answer, the doubt stays.
func (s *Service) resolve(ctx context.Context, t *tenant, r *Registration) {
	r.Doubts = slices.DeleteFunc(slices.Clone(r.Doubts), func(d Place) bool {
		if d == r.at() {
			return true
		}
		from, err := s.oldTarget(t, d.Hub)
		if err == nil {
			timed, cancel := context.WithTimeout(ctx, HubTimeout)
			err = from.Delete(timed, d.DeviceID)
			cancel()
		}
		if err != nil {
			s.log.Warn("a hub may have a device that is on another; it is asked again when the device registers", "service", t.Name, "registration", r.ID,
				"hub", d.Hub, "device", d.DeviceID, "error", err)
		}
		return err == nil
	})
}
