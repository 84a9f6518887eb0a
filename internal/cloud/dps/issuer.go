package dps

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// Issuer is an authority of a service, which issues certificates to its devices:
// one that signs them, below a root that is trusted.
type Issuer struct {
	Chain [][]byte // DER: the one that signs, then its root
	// Keys of both, base64 of PKCS #8. They are sealed inside a Store.
	Key, RootKey causeway.Secret
	Created      time.Time
}

// open returns the authority that signs, and its root.
func (i *Issuer) open() (ca, root *pki.CA, err error) {
	if len(i.Chain) != 2 {
		return nil, nil, fmt.Errorf("an issuer has %d certificates in place of two", len(i.Chain))
	}
	if ca, err = openCA(i.Chain, i.Key); err != nil {
		return nil, nil, err
	}
	root, err = openCA(i.Chain[1:], i.RootKey)
	return ca, root, err
}

func openCA(chain [][]byte, key causeway.Secret) (*pki.CA, error) {
	der, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		return nil, fmt.Errorf("the key of an issuer is not base64")
	}
	return pki.OpenCA(chain, der)
}

func exported(ca *pki.CA) (causeway.Secret, error) {
	der, err := ca.Export()
	return causeway.Secret(base64.StdEncoding.EncodeToString(der)), err
}

// issuerFor sees to it that the newest issuer of i outlives certificates that are
// issued now: it makes one below the root that is there, or below a new one. Those
// before stay, for what they have issued, until they end.
func (i *Instance) issuerFor(lifetime time.Duration, now time.Time) error {
	var root *pki.CA
	if n := len(i.Issuers); n > 0 {
		ca, above, err := i.Issuers[n-1].open()
		if err != nil {
			return fmt.Errorf("issuer of service %s: %w", i.Name, err)
		}
		if ca.Certificate().NotAfter.Sub(now) > lifetime {
			return nil
		}
		if above.Certificate().NotAfter.Sub(now) > lifetime+MaxLifetime {
			root = above
		}
	}
	if root == nil {
		var err error
		if root, err = pki.NewCA(i.Name + " device root"); err != nil {
			return fmt.Errorf("make the root of service %s: %w", i.Name, err)
		}
	}
	ca, err := root.IssueCA(i.Name+" issuing", issuerLife)
	if err != nil {
		return fmt.Errorf("make the issuer of service %s: %w", i.Name, err)
	}
	made := Issuer{Chain: [][]byte{ca.Certificate().Raw, root.Certificate().Raw}, Created: now}
	if made.Key, err = exported(ca); err != nil {
		return err
	}
	if made.RootKey, err = exported(root); err != nil {
		return err
	}
	var kept []Issuer
	for k := range i.Issuers {
		if old, _, err := i.Issuers[k].open(); err == nil && now.Before(old.Certificate().NotAfter) {
			kept = append(kept, i.Issuers[k])
		}
	}
	i.Issuers = append(kept, made)
	return nil
}

// issuer returns what signs certificates that live so long, which is made if need
// be.
func (s *Service) issuer(ctx context.Context, t *tenant, lifetime time.Duration, now time.Time) (*pki.CA, *Issuer, error) {
	if t.ca != nil && t.ca.Certificate().NotAfter.Sub(now) > lifetime {
		return t.ca, &t.Issuers[len(t.Issuers)-1], nil
	}
	if _, err := s.Change(ctx, t.Name, func(i *Instance) error { return i.issuerFor(lifetime, now) }); err != nil {
		return nil, nil, err
	}
	n := s.current.Load().byName[t.Name]
	if n == nil || n.ca == nil {
		return nil, nil, noService(t.Name)
	}
	return n.ca, &n.Issuers[len(n.Issuers)-1], nil
}

// IssuerChain returns the certificates of the authorities that issue to devices of
// a service, DER, each root after those below it; none before the first credential
// policy. Code: CodeNotFound (of the service).
func (s *Service) IssuerChain(service string) ([][]byte, error) {
	t := s.current.Load().byName[service]
	if t == nil {
		return nil, noService(service)
	}
	var all [][]byte
	seen := map[string]bool{}
	for k := len(t.Issuers) - 1; k >= 0; k-- {
		for _, der := range t.Issuers[k].Chain {
			if !seen[string(der)] {
				seen[string(der)] = true
				all = append(all, der)
			}
		}
	}
	return all, nil
}
