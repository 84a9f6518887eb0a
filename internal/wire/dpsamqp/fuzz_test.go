package dpsamqp_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// FuzzTPM cuts its input into responses; it must neither panic nor keep more than
// it says.
func FuzzTPM(f *testing.F) {
	f.Add([]byte("\x0d\x00scope\x00id\x00ek\x04\x00srk\x01\x00\x06\x00token"))
	f.Add([]byte("\x06\x80scope\x08\xC1\x00id\x00ek\x04\x00srk\x01\x00\x06\xC0token"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s dpsamqp.TPM
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			response := b[1 : 1+n]
			b = b[1+n:]
			challenge, step, err := s.Next(response)
			if err != nil {
				break
			}
			switch step {
			case dpsamqp.Activate:
				if challenge, err = s.Blob(blob); err != nil {
					t.Fatal(err)
				}
			case dpsamqp.Verify:
				if s.Token == "" {
					t.Error("no token")
				}
				return
			}
			if len(challenge) == 0 || len(challenge) > 471 {
				t.Errorf("a challenge of %d bytes", len(challenge))
			}
		}
		if len(s.EndorsementKey) > dpsamqp.MaxResponse || len(s.StorageRootKey) > dpsamqp.MaxResponse || len(s.Token) > dpsamqp.MaxResponse {
			t.Errorf("it keeps %d, %d and %d bytes", len(s.EndorsementKey), len(s.StorageRootKey), len(s.Token))
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("amqps://Global.Example:5671/0ne1/registrations/Press%2E1")
	f.Add("/s/registrations/r")
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := dpsamqp.ParseAddress(s); ok && (a.Scope == "" || a.ID == "" || len(a.Scope)+len(a.ID) > len(s)) {
			t.Errorf("%q is %+v", s, a)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(dpsamqp.AppendRequest(nil, dpsamqp.Request{Op: dpsamqp.Register, Correlation: codec.String("a"), Body: []byte("{}")}))
	f.Add(dpsamqp.AppendRequest(nil, dpsamqp.Request{Op: dpsamqp.Lookup, Operation: "5.a", Correlation: codec.UUID([16]byte{1})}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := dpsamqp.DecodeRequest(b)
		if err != nil {
			return
		}
		again, err := dpsamqp.DecodeRequest(dpsamqp.AppendRequest(nil, r))
		if err != nil || again.Op != r.Op || again.Operation != r.Operation || !again.Correlation.Equal(r.Correlation) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}
