package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"

	"github.com/causeway-iot/causeway"
)

// Grounds returns what of a hub may vouch for its devices, as it stands in the
// Grounds of an [causeway.AuthMethod]: each key of the policies that have the
// right DeviceConnect, and each authority. A proof whose grounds are not among
// them holds no longer.
//
// Grounds tell keys apart and do not hold them.
func Grounds(policies []Policy, authorities []*x509.Certificate) map[string]bool {
	all := make(map[string]bool, 2*len(policies)+len(authorities))
	for i := range policies {
		p := &policies[i]
		if !p.Rights.Has(DeviceConnect) {
			continue
		}
		for _, k := range [...]causeway.Secret{p.Primary, p.Secondary} {
			if key, err := base64.StdEncoding.DecodeString(string(k)); err == nil && len(key) > 0 {
				all[groundsOfKey(p.Name, key)] = true
			}
		}
	}
	for _, c := range authorities {
		all[groundsOfAuthority(c)] = true
	}
	return all
}

// groundsOfKey names a key of a policy.
func groundsOfKey(policy string, key []byte) string {
	sum := sha256.Sum256(append([]byte(policy+"\x00"), key...))
	return "key " + hex.EncodeToString(sum[:16])
}

// groundsOfAuthority names an authority.
func groundsOfAuthority(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "authority " + hex.EncodeToString(sum[:16])
}
