package hubtest

import (
	"context"

	"github.com/causeway-iot/causeway"
)

// Null is a hub that lets everybody in and stores nothing, for measurements of
// what is in front of it. Its name is the name of the identities' hub.
type Null string

// Connect implements causeway.Hub.
func (h Null) Connect(_ context.Context, cred causeway.Credential, _ causeway.Device) (causeway.Session, error) {
	cred.Identity.Hub = string(h)
	return &nullSession{cred.Identity}, nil
}

type nullSession struct{ id causeway.Identity }

func (s *nullSession) Identity() causeway.Identity                         { return s.id }
func (*nullSession) Send(context.Context, ...causeway.Message) error       { return nil }
func (*nullSession) Twin(context.Context) (causeway.Twin, error)           { return causeway.Twin{}, nil }
func (*nullSession) Report(context.Context, causeway.Patch) (int64, error) { return 1, nil }
func (*nullSession) Listen(context.Context, causeway.Lane) error           { return nil }
func (*nullSession) Drain(context.Context) error                           { return nil }
func (*nullSession) Renew(context.Context, causeway.Credential) error      { return nil }
func (*nullSession) Close(error) error                                     { return nil }
func (*nullSession) Settle(context.Context, causeway.LockToken, causeway.Outcome) error {
	return nil
}
