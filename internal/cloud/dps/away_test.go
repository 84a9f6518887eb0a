package dps_test

import (
	"context"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// impatient is a store that stores what it is given, and then has whoever waits for
// that go away. As drivers do, it tells such a one that it went, and not what came of it.
type impatient struct{ dps.Store }

// leaving is the key of what has the caller of a context go away.
type leaving struct{}

func (i impatient) after(ctx context.Context, err error) error {
	if leave, ok := ctx.Value(leaving{}).(context.CancelFunc); ok {
		leave()
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

func (i impatient) PutInstance(ctx context.Context, x dps.Instance) error {
	return i.after(ctx, i.Store.PutInstance(ctx, x))
}

func (i impatient) DeleteInstance(ctx context.Context, name string) error {
	return i.after(ctx, i.Store.DeleteInstance(ctx, name))
}

func (i impatient) Instances(ctx context.Context) ([]dps.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return i.Store.Instances(ctx)
}

func (i impatient) PutEnrollment(ctx context.Context, service string, e dps.Enrollment, match string) error {
	return i.after(ctx, i.Store.PutEnrollment(ctx, service, e, match))
}

func (i impatient) DeleteEnrollment(ctx context.Context, service string, group bool, id, match string) error {
	return i.after(ctx, i.Store.DeleteEnrollment(ctx, service, group, id, match))
}

func (i impatient) PutRegistration(ctx context.Context, service string, r dps.Registration, match string, d ...dps.Decision) error {
	return i.after(ctx, i.Store.PutRegistration(ctx, service, r, match, d...))
}

func (i impatient) PutRevocations(ctx context.Context, service, list string, r []dps.Revocation) error {
	return i.after(ctx, i.Store.PutRevocations(ctx, service, list, r))
}

func (i impatient) DeleteRevocation(ctx context.Context, service, id string) error {
	return i.after(ctx, i.Store.DeleteRevocation(ctx, service, id))
}

func (i impatient) Revocations(ctx context.Context, service, after string, limit int) ([]dps.Revocation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return i.Store.Revocations(ctx, service, after, limit)
}

// TestGoesAway: what a client asked for that went away while it was stored counts all
// the same, at once and not with the next start.
func TestGoesAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		w.store = impatient{w.store}
		w.start()
		wait() // what a stop has interrupted is found now, and no more
		away := func(do func(ctx context.Context) error) {
			t.Helper()
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			_ = do(context.WithValue(ctx, leaving{}, leave)) // whom it would be told is not there
		}
		r := w.request("d", w.put(keyEnrollment("d")).Attestation.Keys.Primary)
		away(func(ctx context.Context) error { _, err := w.Register(ctx, r); return err })
		wait()
		w.assigned(r, "", "d", "initialAssignment")

		g := dps.Enrollment{ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey, Keys: w.put(keyEnrollment("k")).Attestation.Keys}}
		away(func(ctx context.Context) error { _, err := w.PutEnrollment(ctx, "dps", g, ""); return err })
		member := w.request("m", w.derived(g.Attestation.Keys.Primary, "m"))
		w.assigned(member, "", "m", "initialAssignment")
		g.Disabled = true
		away(func(ctx context.Context) error { _, err := w.PutEnrollment(ctx, "dps", g, ""); return err })
		if op := w.register(member); op.Status != "disabled" {
			t.Errorf("by a group that was disabled: %+v", op)
		}
		away(func(ctx context.Context) error { return w.DeleteEnrollment(ctx, "dps", true, "g", "") })
		_, err := w.Register(t.Context(), member)
		w.refused("by a group that was deleted", err, dps.CodeUnauthorized, "")

		const thumb = "00112233445566778899aabbccddeeff00112233"
		away(func(ctx context.Context) error {
			_, err := w.Revoke(ctx, "dps", dps.Revocation{Thumbprint: thumb})
			return err
		})
		issued := dps.Issued{Thumbprint: thumb}
		if !w.Revoked("dps", &issued) {
			t.Error("what was revoked counts")
		}
		away(func(ctx context.Context) error { return w.Unrevoke(ctx, "dps", thumb) })
		if w.Revoked("dps", &issued) {
			t.Error("what is not revoked any more does not count")
		}

		away(func(ctx context.Context) error {
			_, err := w.Change(ctx, "dps", func(i *dps.Instance) error { i.Links = nil; return nil })
			return err
		})
		if i, _ := w.Instance("dps"); len(i.Links) != 0 {
			t.Errorf("links %v", i.Links)
		}
		away(func(ctx context.Context) error { return w.Delete(ctx, "dps") })
		if _, there := w.Instance("dps"); there {
			t.Error("the service is there after it was deleted")
		}
		_, err = w.Register(t.Context(), causeway.Registration{Scope: w.scope, ID: "d"})
		w.refused("of a service that was deleted", err, dps.CodeScopeNotFound, "")
	})
}
