package dps

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/tpm2"
)

// ValidID reports whether s can be the id of a registration or of a group: 1 to
// MaxID ASCII letters, digits and characters of . _ - :, of which the last is a
// letter, a digit or "-".
func ValidID(s string) bool {
	if s == "" || len(s) > MaxID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && c != '-' && (i == len(s)-1 || c != '.' && c != '_' && c != ':') {
			return false
		}
	}
	return true
}

// fold returns the form of an id that records are found by.
func fold(id string) string { return strings.ToLower(id) }

// complete checks an enrollment that a client gave, and fills in what it left
// out. Old is the one it replaces, or nil: keys that are not given stay.
func (i *Instance) complete(e *Enrollment, old *Enrollment) error {
	what := "registrationId"
	if e.Group {
		what = "enrollmentGroupId"
	}
	if !ValidID(e.ID) {
		return invalid("%s %q is not one: it has 1 to %d letters, digits and characters of . _ - :, and ends in a letter, a digit or '-'", what, clip(e.ID), MaxID)
	}
	if e.Group && e.DeviceID != "" {
		return invalid("deviceId: the devices of a group have their registration ids; leave it out")
	}
	if e.DeviceID != "" && !validDevice(e.DeviceID) {
		return invalid("deviceId %q is no id of a device", clip(e.DeviceID))
	}
	if old != nil && old.Attestation.Kind != e.Attestation.Kind {
		return invalid("attestation.type: it cannot change from %s to %s; delete the enrollment and create it again", old.Attestation.Kind, e.Attestation.Kind)
	}
	var was *Attestation
	if old != nil {
		was = &old.Attestation
	}
	if err := i.attestation(&e.Attestation, was, e.Group); err != nil {
		return err
	}
	if err := i.allocation(e); err != nil {
		return err
	}
	if err := e.InitialTwin.check(); err != nil {
		return err
	}
	if e.Information != nil {
		if err := object("optionalDeviceInformation", e.Information, MaxInformation); err != nil {
			return err
		}
	}
	if e.CredentialPolicy != "" && i.credential(e.CredentialPolicy) == nil && (old == nil || old.CredentialPolicy != e.CredentialPolicy) {
		return invalid("credentialPolicyName: the service has no credential policy %q; make it first", clip(e.CredentialPolicy))
	}
	return nil
}

// attestation checks how devices prove who they are.
func (i *Instance) attestation(a, old *Attestation, group bool) error {
	switch a.Kind {
	case SymmetricKey:
		if a.Keys.Primary == "" && a.Keys.Secondary == "" {
			a.Keys = attestation.Keys{Primary: newKey(), Secondary: newKey()}
			if old != nil {
				a.Keys = old.Keys
			}
			return nil
		}
		for name, k := range map[string]causeway.Secret{"primaryKey": a.Keys.Primary, "secondaryKey": a.Keys.Secondary} {
			b, err := base64.StdEncoding.DecodeString(string(k))
			if err != nil || len(b) < leastKey || len(b) > mostKey {
				return invalid("attestation.symmetricKey.%s must be base64 of %d to %d bytes; leave both keys out to have them made", name, leastKey, mostKey)
			}
		}
	case X509:
		return i.certificates(a, old, group)
	case TPM:
		if group {
			return invalid("attestation.type tpm is for single devices: each TPM has a key of its own")
		}
		if len(a.EndorsementKey) == 0 && old != nil {
			a.EndorsementKey = old.EndorsementKey
		}
		ek, err := tpm2.ParsePublic(a.EndorsementKey)
		if err != nil {
			return invalid("attestation.tpm.endorsementKey: %v", err)
		}
		a.EndorsementKey = ek.Bytes()
		if len(a.StorageRootKey) > 0 {
			srk, err := tpm2.ParsePublic(a.StorageRootKey)
			if err != nil {
				return invalid("attestation.tpm.storageRootKey: %v", err)
			}
			a.StorageRootKey = srk.Bytes()
		}
	default:
		return invalid("attestation.type %q is none of symmetricKey, x509 and tpm", clip(string(a.Kind)))
	}
	return nil
}

// certificates checks the certificates or authorities of an enrollment.
func (i *Instance) certificates(a, old *Attestation, group bool) error {
	named := a.PrimaryAuthority != "" || a.SecondaryAuthority != ""
	keep := a.KeepPrimary || a.KeepSecondary
	if old != nil {
		a.keep(old)
	}
	a.KeepPrimary, a.KeepSecondary = false, false
	pinned := len(a.Primary)+len(a.Secondary) > 0
	if !pinned && !named && !keep && old != nil {
		a.Primary, a.Secondary, a.PrimaryAuthority, a.SecondaryAuthority = old.Primary, old.Secondary, old.PrimaryAuthority, old.SecondaryAuthority
		return nil
	}
	member := "clientCertificates"
	if group {
		member = "signingCertificates"
	}
	switch {
	case pinned && named:
		return invalid("attestation.x509 has both %s and caReferences: give one of them", member)
	case !pinned && !named:
		return invalid("attestation.x509 has neither %s nor caReferences", member)
	case pinned && len(a.Primary) == 0 || named && a.PrimaryAuthority == "":
		return invalid("attestation.x509: the primary certificate is missing")
	}
	if group && pinned {
		for _, der := range [][]byte{a.Primary, a.Secondary} {
			if err := maySign(der); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{a.PrimaryAuthority, a.SecondaryAuthority} {
		if name != "" && i.authority(name) == nil {
			return invalid("attestation.x509.caReferences: the service has no verified certificate %q; upload it and prove its possession first", clip(name))
		}
	}
	return nil
}

// keep takes over the certificates of old that stay. A secondary one that is left
// alone becomes the primary one: it cannot be sent again by who does not have it.
func (a *Attestation) keep(old *Attestation) {
	if a.KeepPrimary {
		a.Primary = old.Primary
	}
	if a.KeepSecondary {
		a.Secondary = old.Secondary
		if len(a.Primary) == 0 {
			a.Primary, a.Secondary = a.Secondary, nil
		}
	}
}

// allocation checks how a hub is chosen.
func (i *Instance) allocation(e *Enrollment) error {
	switch e.Allocation {
	case "", Hashed, GeoLatency, Static, Custom:
	default:
		return invalid("allocationPolicy %q is none of hashed, geoLatency, static and custom", clip(string(e.Allocation)))
	}
	if len(e.Hubs) > MaxHubs {
		return invalid("iotHubs has %d hubs, at most %d are accepted", len(e.Hubs), MaxHubs)
	}
	e.Hubs = slices.Clone(e.Hubs)
	for k, h := range e.Hubs {
		l, ok := i.Link(h)
		if !ok {
			return invalid("iotHubs: the hub %q is not linked to this service", clip(h))
		}
		e.Hubs[k] = l.Host
	}
	if e.Allocation == Static && len(e.Hubs) != 1 {
		return invalid("allocationPolicy static needs exactly one hub in iotHubs, not %d", len(e.Hubs))
	}
	if e.Allocation != Custom {
		if e.Webhook != (Webhook{}) {
			return invalid("customAllocationDefinition is of use with the allocationPolicy custom only")
		}
		return nil
	}
	u, err := url.Parse(e.Webhook.URL)
	if e.Webhook.URL == "" || len(e.Webhook.URL) > MaxURL || err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return invalid("customAllocationDefinition.webhookUrl must be a URL https://host/… of at most %d characters without user and password", MaxURL)
	}
	if e.Webhook.APIVersion == "" {
		return invalid("customAllocationDefinition.apiVersion is missing, e.g. 2021-10-01")
	}
	return nil
}

// check checks an initial twin by the rules of twins, and drops what only a twin
// that was read has.
func (t *InitialTwin) check() error {
	if len(t.Tags)+len(t.Desired) > MaxTwin {
		return invalid("initialTwin has more than %d bytes", MaxTwin)
	}
	for name, doc := range map[string]*json.RawMessage{"tags": &t.Tags, "properties.desired": &t.Desired} {
		if isNull(*doc) {
			*doc = nil
			continue
		}
		section := twin.Tags
		if name != "tags" {
			section = twin.Desired
		}
		r, err := twin.Replace(twin.Doc{}, *doc, twin.Change{Section: section})
		if err != nil {
			return invalid("initialTwin.%s: %s", name, causeway.MessageOf(err))
		}
		*doc = r.Properties
	}
	return nil
}

// isNull reports whether a document is absent.
func isNull(doc []byte) bool {
	doc = bytes.TrimSpace(doc)
	return len(doc) == 0 || string(doc) == "null"
}

// object checks that a document is a JSON object of a bounded size.
func object(name string, doc []byte, most int) error {
	if len(doc) > most {
		return invalid("%s has %d bytes, at most %d are accepted", name, len(doc), most)
	}
	if doc = bytes.TrimSpace(doc); len(doc) == 0 || doc[0] != '{' || !json.Valid(doc) {
		return invalid("%s must be a JSON object", name)
	}
	return nil
}

// clip shortens text of a client that is repeated in a message.
func clip(s string) string { return clipTo(s, 100) }

// clipTo shortens a text to about so many bytes.
func clipTo(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
