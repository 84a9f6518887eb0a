package auth_test

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// chainOf parses what a client would send.
func chainOf(t *testing.T, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	return chain
}

// certificate is an identity registered with the certificate it presents.
type certificate struct {
	subject auth.Subject
	chain   []*x509.Certificate
}

func certified(t *testing.T, device string) certificate {
	t.Helper()
	c, err := pki.SelfSigned(device, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := auth.Subject{ID: causeway.Identity{Device: device}, Type: auth.SelfSigned}
	_, s.PrimaryThumb = pki.Thumbprints(c.Leaf)
	return certificate{s, []*x509.Certificate{c.Leaf}}
}

func TestThumbprint(t *testing.T) {
	own, other := certified(t, "dev1"), certified(t, "dev1")
	old, err := pki.SelfSigned("dev1", -24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	short, long := pki.Thumbprints(own.chain[0])
	otherShort, otherLong := pki.Thumbprints(other.chain[0])
	oldShort, _ := pki.Thumbprints(old.Leaf)
	colons := strings.Join(slices.Collect(func(yield func(string) bool) {
		for pair := range slices.Chunk([]byte(short), 2) {
			if !yield(string(pair)) {
				return
			}
		}
	}), ":")

	tests := []struct {
		name               string
		primary, secondary string
		chain              []*x509.Certificate
		cause              error
	}{
		{"SHA-256, primary", long, otherLong, own.chain, nil},
		{"SHA-256, secondary", otherLong, long, own.chain, nil},
		{"SHA-1, primary", short, "", own.chain, nil},
		{"SHA-1, secondary", "", short, own.chain, nil},
		{"lower case", strings.ToLower(long), "", own.chain, nil},
		{"with colons", colons, "", own.chain, nil},
		{"both the same", long, short, own.chain, nil},
		{"expired", oldShort, "", []*x509.Certificate{old.Leaf}, nil},
		{"with more behind it", long, "", append(slices.Clone(own.chain), other.chain...), nil},

		{"another", otherLong, otherShort, own.chain, auth.ErrCertificate},
		{"only behind another", long, short, append(slices.Clone(other.chain), own.chain...), auth.ErrCertificate},
		{"none registered", "", "", own.chain, auth.ErrCertificate},
		{"half a thumbprint", long[:40], short[:20], own.chain, auth.ErrCertificate},
		{"not hexadecimal", "z" + long[1:], "", own.chain, auth.ErrCertificate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, module := range []string{"", "mod1"} {
				s := auth.Subject{ID: causeway.Identity{Device: "dev1", Module: module}, Type: auth.SelfSigned, PrimaryThumb: tt.primary, SecondThumb: tt.secondary}
				got, err := auth.Device(now, causeway.Credential{Host: host, Identity: s.ID, Certificates: tt.chain}, s, realm())
				if tt.cause != nil {
					checkRefusal(t, err, tt.cause)
					continue
				}
				want := causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "x509"}
				if module != "" {
					want.Scope = causeway.ScopeModule
				}
				if err != nil || got != want {
					t.Errorf("got %+v, %v, want %+v", got, err, want)
				}
			}
		})
	}
}

func TestAuthority(t *testing.T) {
	// Certificates live from the true time on; the tests' own time does not matter here.
	now := time.Now()
	root, stranger := newCA(t), newCA(t)
	below, err := root.IssueCA("Factory", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(ca *pki.CA, cn string, ttl time.Duration) []*x509.Certificate {
		t.Helper()
		c, err := ca.IssueClient(cn, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return chainOf(t, c)
	}
	server, err := root.IssueServer([]string{"dev1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	self, err := pki.SelfSigned("dev1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dev, mod := causeway.Identity{Device: "dev1"}, causeway.Identity{Device: "dev1", Module: "mod1"}
	direct, indirect := issue(root, "dev1", time.Hour), issue(below, "dev1", time.Hour)
	if len(indirect) != 2 {
		t.Fatalf("chain of %d, want the leaf and what is between it and the root", len(indirect))
	}
	bothRoots := pki.Pool(root.Certificate(), stranger.Certificate())

	tests := []struct {
		name  string
		id    causeway.Identity
		chain []*x509.Certificate
		roots *x509.CertPool
		now   time.Time
		cause error
	}{
		{"device", dev, direct, root.Pool(), now, nil},
		{"module", mod, issue(root, "dev1/mod1", time.Hour), root.Pool(), now, nil},
		{"intermediate from the chain", dev, indirect, root.Pool(), now, nil},
		{"root sent along", dev, append(slices.Clone(indirect), root.Certificate()), root.Pool(), now, nil},
		{"one of several authorities", dev, direct, bothRoots, now, nil},
		{"intermediate registered as authority", dev, indirect[:1], below.Pool(), now, nil},
		{"usage of a server", dev, chainOf(t, server), root.Pool(), now, nil},

		{"intermediate missing", dev, indirect[:1], root.Pool(), now, auth.ErrCertificate},
		{"another's authority", dev, direct, stranger.Pool(), now, auth.ErrCertificate},
		{"stranger with the root behind", dev, append(issue(stranger, "dev1", time.Hour), root.Certificate()), root.Pool(), now, auth.ErrCertificate},
		{"self-signed", dev, chainOf(t, self), root.Pool(), now, auth.ErrCertificate},
		{"no authority", dev, direct, nil, now, auth.ErrCertificate},
		{"another device", dev, issue(root, "dev2", time.Hour), root.Pool(), now, auth.ErrCertificate},
		{"another case", dev, issue(root, "DEV1", time.Hour), root.Pool(), now, auth.ErrCertificate},
		{"device's certificate for a module", mod, direct, root.Pool(), now, auth.ErrCertificate},
		{"module's certificate for its device", dev, issue(root, "dev1/mod1", time.Hour), root.Pool(), now, auth.ErrCertificate},
		{"no name", dev, issue(root, "", time.Hour), root.Pool(), now, auth.ErrCertificate},
		{"expired", dev, direct, root.Pool(), now.Add(2 * time.Hour), auth.ErrCertificate},
		{"not yet valid", dev, direct, root.Pool(), now.Add(-2 * time.Hour), auth.ErrCertificate},
		{"endless", dev, append(slices.Clone(direct), slices.Repeat(indirect, auth.MaxChain)...), root.Pool(), now, auth.ErrCertificate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := realm()
			r.Roots = tt.roots
			s := auth.Subject{ID: tt.id, Type: auth.CA}
			got, err := auth.Device(tt.now, causeway.Credential{Host: host, Identity: tt.id, Certificates: tt.chain}, s, r)
			if tt.cause != nil {
				checkRefusal(t, err, tt.cause)
				return
			}
			want := causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "x509", Expires: tt.chain[0].NotAfter, Grounds: got.Grounds}
			if tt.id.IsModule() {
				want.Scope = causeway.ScopeModule
			}
			if err != nil || got != want || got.Grounds == "" {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

// Which proof counts when there is a choice.
func TestBothProofs(t *testing.T) {
	cert := certified(t, "dev1")
	bad := certified(t, "dev1")
	goodToken, badToken := token("/devices/dev1", "dev1 1", ""), token("/devices/dev1", "dev2 1", "")
	tests := []struct {
		name  string
		kind  auth.Type
		token string
		chain []*x509.Certificate
		want  string // type of the method
		cause error
	}{
		{"keys: the token counts", auth.SAS, goodToken, bad.chain, "sas", nil},
		{"keys: the certificate does not", auth.SAS, badToken, cert.chain, "", auth.ErrSignature},
		{"keys: nor alone", auth.SAS, "", cert.chain, "", auth.ErrMethod},
		{"certificate: it counts", auth.SelfSigned, badToken, cert.chain, "x509", nil},
		{"certificate: the token does not", auth.SelfSigned, goodToken, bad.chain, "", auth.ErrCertificate},
		{"certificate: nor alone", auth.SelfSigned, goodToken, nil, "", auth.ErrMethod},
		{"none: neither", auth.None, goodToken, cert.chain, "", auth.ErrMethod},
		{"unknown word: neither", "", goodToken, cert.chain, "", auth.ErrMethod},
		{"nothing given", auth.SelfSigned, "", nil, "", auth.ErrNoProof},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := subject("dev1", "")
			s.Type, s.PrimaryThumb = tt.kind, cert.subject.PrimaryThumb
			cred := credential(s, tt.token)
			cred.Certificates = tt.chain
			got, err := auth.Device(now, cred, s, realm())
			if tt.cause != nil {
				checkRefusal(t, err, tt.cause)
				return
			}
			if err != nil || got.Type != tt.want {
				t.Errorf("got %+v, %v, want %s", got, err, tt.want)
			}
		})
	}
	s := cert.subject
	s.Disabled = true
	_, err := auth.Device(now, causeway.Credential{Host: host, Identity: s.ID, Certificates: cert.chain}, s, realm())
	checkRefusal(t, err, auth.ErrDisabled)
}

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("Test authority")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}
