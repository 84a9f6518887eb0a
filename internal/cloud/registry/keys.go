package registry

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// NewKey stands for a key that [Service.Create] or [Service.Update] shall
// generate. Empty keys mean the same at creation; in an update both empty keep
// the keys there are.
const NewKey causeway.Secret = "\x00generate" // no base64

const generatedKeyBytes = 32

// keys seals the keys of records on their way to the store and opens them on
// their way back.
type keys struct{ sealer Sealer }

// bind names the place of a key, so that it opens nowhere else.
func bind(id causeway.Identity, which string) string {
	return "registry/" + id.Hub + "/" + id.Device + "/" + id.Module + "/" + which
}

// seal returns r with sealed keys.
func (k keys) seal(r Record) (Record, error) {
	err := k.each(&r, "seal", k.sealer.Seal)
	return r, err
}

// open opens the keys of r in place.
func (k keys) open(r *Record) error { return k.each(r, "open", k.sealer.Open) }

func (k keys) openAll(recs []Record) error {
	for i := range recs {
		if err := k.open(&recs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (k keys) each(r *Record, doing string, f func(causeway.Secret, string) (causeway.Secret, error)) error {
	for _, key := range []struct {
		name string
		at   *causeway.Secret
	}{{"primary", &r.Auth.Primary}, {"secondary", &r.Auth.Secondary}} {
		if *key.at == "" {
			continue
		}
		out, err := f(*key.at, bind(r.ID, key.name))
		if err != nil {
			return wrap(fmt.Errorf("%s the %s key: %w", doing, key.name, err), "keep keys of", r.ID)
		}
		*key.at = out
	}
	return nil
}

// newKey returns a random key as users see it.
func newKey() causeway.Secret {
	var b [generatedKeyBytes]byte
	rand.Read(b[:]) // never fails
	return causeway.Secret(base64.StdEncoding.EncodeToString(b[:]))
}

// authentication completes and checks what a caller gave. Old is what the
// identity had, nil at creation. What does not belong to the type is dropped:
// a client that changes the type of an identity it has read sends it all back.
func authentication(op string, in Authentication, old *Authentication) (Authentication, error) {
	typ, ok := authType(in)
	if !ok {
		return Authentication{}, invalid(op, "authentication.type is %q, it must be sas, selfSigned, certificateAuthority or none", in.Type)
	}
	if old != nil && in == (Authentication{}) {
		return *old, nil // nothing said: nothing changes
	}
	switch typ {
	case auth.SAS:
		return symmetric(op, in, old)
	case auth.SelfSigned:
		return thumbprints(op, in)
	default:
		return Authentication{Type: typ}, nil
	}
}

// authType returns the type in its canonical spelling, inferred when absent.
func authType(in Authentication) (auth.Type, bool) {
	if in.Type == "" {
		if in.PrimaryThumb != "" || in.SecondThumb != "" {
			return auth.SelfSigned, true
		}
		return auth.SAS, true
	}
	for _, t := range []auth.Type{auth.SAS, auth.SelfSigned, auth.CA, auth.None} {
		if strings.EqualFold(string(t), string(in.Type)) {
			return t, true
		}
	}
	return "", false
}

func symmetric(op string, in Authentication, old *Authentication) (Authentication, error) {
	out := Authentication{Type: auth.SAS, Primary: in.Primary, Secondary: in.Secondary}
	switch {
	case in.Primary == "" && in.Secondary == "":
		if old != nil && old.Type == auth.SAS && old.Primary != "" {
			out.Primary, out.Secondary = old.Primary, old.Secondary
			return out, nil
		}
		out.Primary, out.Secondary = NewKey, NewKey
	case in.Primary == "" || in.Secondary == "":
		return Authentication{}, invalid(op, "authentication.symmetricKey: give both keys, or none to have them generated")
	}
	for _, k := range []struct {
		name string
		at   *causeway.Secret
	}{{"primaryKey", &out.Primary}, {"secondaryKey", &out.Secondary}} {
		if *k.at == NewKey {
			*k.at = newKey()
			continue
		}
		b, err := base64.StdEncoding.DecodeString(string(*k.at))
		if err != nil {
			return Authentication{}, invalid(op, "authentication.symmetricKey.%s is not base64 text", k.name)
		}
		if len(b) < causeway.MinKeyBytes || len(b) > causeway.MaxKeyBytes {
			return Authentication{}, invalid(op, "authentication.symmetricKey.%s has %d bytes, it must have %d to %d", k.name, len(b), causeway.MinKeyBytes, causeway.MaxKeyBytes)
		}
	}
	return out, nil
}

func thumbprints(op string, in Authentication) (Authentication, error) {
	out := Authentication{Type: auth.SelfSigned, PrimaryThumb: in.PrimaryThumb, SecondThumb: in.SecondThumb}
	if out.PrimaryThumb == "" && out.SecondThumb == "" {
		return Authentication{}, invalid(op, "authentication.x509Thumbprint: type selfSigned needs one or two thumbprints")
	}
	for _, p := range []struct{ name, text string }{
		{"primaryThumbprint", out.PrimaryThumb}, {"secondaryThumbprint", out.SecondThumb},
	} {
		if p.text == "" {
			continue
		}
		if _, err := hex.DecodeString(p.text); err != nil || len(p.text) != 40 && len(p.text) != 64 {
			return Authentication{}, invalid(op, "authentication.x509Thumbprint.%s must be 40 (SHA-1) or 64 (SHA-256) hexadecimal digits", p.name)
		}
	}
	return out, nil
}
