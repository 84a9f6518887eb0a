package directory

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// Bounds of a hub's description.
const (
	MaxHubs        = 1000
	MaxHosts       = 64 // of one hub
	MaxPolicies    = 64 // of one hub
	MaxAuthorities = 64 // of one hub

	// MaxConsumerGroups is how many consumer groups one hub has, the default
	// one included.
	MaxConsumerGroups = 20

	maxGroupName   = 50
	maxNameLength  = 63 // of a hub: it is a host label
	maxHostLength  = 253
	maxWordLength  = 64       // names of policies and authorities
	maxCertificate = 64 << 10 // bytes of DER
	minTTL         = time.Minute
	maxMessageTTL  = 48 * time.Hour // of feedback and file notifications
	maxUploadTTL   = 24 * time.Hour
	minLock        = 5 * time.Second
	maxLock        = 300 * time.Second
	maxDeliveries  = 100
	maxJobsActive  = 100
)

func invalid(op, format string, args ...any) error {
	return causeway.Errorf(causeway.ArgumentInvalid, op, format, args...)
}

// validate reports what is wrong with a hub on its own.
func (h *Hub) validate(op string) error {
	if !label(h.Name) {
		return invalid(op, "the hub name %q is not allowed: use up to %d lower-case letters, digits and hyphens, no hyphen at an end", h.Name, maxNameLength)
	}
	if h.Partitions < 1 || h.Partitions > causeway.MaxPartitions {
		return invalid(op, "hub %q has %d partitions; use 1 to %d", h.Name, h.Partitions, causeway.MaxPartitions)
	}
	if len(h.Hosts) == 0 || len(h.Hosts) > MaxHosts {
		return invalid(op, "hub %q has %d host names; use 1 to %d", h.Name, len(h.Hosts), MaxHosts)
	}
	seen := map[string]bool{}
	for _, host := range h.Hosts {
		if !ValidHost(host) {
			return invalid(op, "the host name %q of hub %q is not allowed: use a DNS name or an IP address, without a port", host, h.Name)
		}
		if seen[host] {
			return invalid(op, "the host name %q of hub %q is given twice", host, h.Name)
		}
		seen[host] = true
	}
	if err := h.validatePolicies(op); err != nil {
		return err
	}
	if err := h.validateAuthorities(op); err != nil {
		return err
	}
	if err := h.validateGroups(op); err != nil {
		return err
	}
	return h.validateSettings(op)
}

func (h *Hub) validatePolicies(op string) error {
	if len(h.Policies) > MaxPolicies {
		return invalid(op, "hub %q has %d shared access policies; at most %d are allowed", h.Name, len(h.Policies), MaxPolicies)
	}
	seen := map[string]bool{}
	for _, p := range h.Policies {
		if !word(p.Name) {
			return invalid(op, "the policy name %q of hub %q is not allowed: use up to %d letters, digits, hyphens, underscores and dots", p.Name, h.Name, maxWordLength)
		}
		if seen[p.Name] {
			return invalid(op, "hub %q has two policies named %q", h.Name, p.Name)
		}
		seen[p.Name] = true
		if p.Rights == 0 || !auth.AllRights.Has(p.Rights) {
			return invalid(op, "policy %q of hub %q grants no known right", p.Name, h.Name)
		}
		for which, key := range map[string]causeway.Secret{"primary": p.Primary, "secondary": p.Secondary} {
			b, err := base64.StdEncoding.DecodeString(string(key))
			if err != nil || len(b) < causeway.MinKeyBytes || len(b) > causeway.MaxKeyBytes {
				return invalid(op, "the %s key of policy %q of hub %q is not base64 of %d to %d bytes", which, p.Name, h.Name, causeway.MinKeyBytes, causeway.MaxKeyBytes)
			}
		}
	}
	return nil
}

func (h *Hub) validateAuthorities(op string) error {
	if len(h.Authority) > MaxAuthorities {
		return invalid(op, "hub %q has %d certificate authorities; at most %d are allowed", h.Name, len(h.Authority), MaxAuthorities)
	}
	seen := map[string]bool{}
	for _, a := range h.Authority {
		if !word(a.Name) {
			return invalid(op, "the authority name %q of hub %q is not allowed: use up to %d letters, digits, hyphens, underscores and dots", a.Name, h.Name, maxWordLength)
		}
		if seen[a.Name] {
			return invalid(op, "hub %q has two authorities named %q", h.Name, a.Name)
		}
		seen[a.Name] = true
		if len(a.DER) > maxCertificate {
			return invalid(op, "the certificate of authority %q of hub %q has %d bytes; at most %d are allowed", a.Name, h.Name, len(a.DER), maxCertificate)
		}
		cert, err := a.Certificate()
		if err != nil {
			return &causeway.Error{Code: causeway.ArgumentInvalid, Op: op, Msg: "the certificate of authority " + a.Name + " cannot be read: give one X.509 certificate", Err: err}
		}
		if !cert.IsCA {
			return invalid(op, "the certificate of authority %q of hub %q is not that of an authority: its basic constraints do not say CA", a.Name, h.Name)
		}
	}
	return nil
}

func (h *Hub) validateSettings(op string) error {
	s := h.Settings
	if s.Quota != nil {
		if _, err := s.Quota.Limits(); err != nil {
			return fmt.Errorf("hub %s: %w", h.Name, err)
		}
	}
	switch {
	case s.RetentionTime < 0 || s.RetentionBytes < 0:
		return invalid(op, "the retention of hub %q is negative; use 0 for the default", h.Name)
	case s.CommandTTL != 0 && (s.CommandTTL < minTTL || s.CommandTTL > causeway.MaxCommandTTL):
		return invalid(op, "the time to live of commands of hub %q is %s; use %s to %s, or 0 for the default", h.Name, s.CommandTTL, minTTL, causeway.MaxCommandTTL)
	case s.MaxDeliveryCount < 0 || s.MaxDeliveryCount > maxDeliveries:
		return invalid(op, "the maximum delivery count of hub %q is %d; use 1 to %d, or 0 for the default", h.Name, s.MaxDeliveryCount, maxDeliveries)
	}
	if t := s.FileUploadTTL; t != 0 && (t < minTTL || t > maxUploadTTL) {
		return invalid(op, "the time to live of file uploads of hub %q is %s; use %s to %s, or 0 for the default", h.Name, t, minTTL, maxUploadTTL)
	}
	if c := s.FileUploadContainer; c != "" && (blob.CheckContainer(c) != nil || c == blobsas.AccountName) {
		return invalid(op, "the container of file uploads of hub %q is %q; use 3 to 63 lower-case letters, digits and single inner hyphens, not %q", h.Name, c, blobsas.AccountName)
	}
	if s.JobsActive < 0 || s.JobsActive > maxJobsActive || s.JobDevicesPerSecond < 0 {
		return invalid(op, "hub %q allows %d jobs at once, and %d devices in a second; use 1 to %d jobs, and a number that is not negative, or 0 for the defaults", h.Name, s.JobsActive, s.JobDevicesPerSecond, maxJobsActive)
	}
	if err := h.validateQueue(op, "feedback", s.FeedbackTTL, s.FeedbackLock, s.FeedbackMaxDeliveryCount); err != nil {
		return err
	}
	return h.validateQueue(op, "file notifications", s.FileNotificationTTL, s.FileNotificationLock, s.FileNotificationMaxDeliveryCount)
}

// validateQueue checks the settings of a queue from the hub to its back ends.
func (h *Hub) validateQueue(op, what string, ttl, lock time.Duration, deliveries int) error {
	switch {
	case ttl != 0 && (ttl < minTTL || ttl > maxMessageTTL):
		return invalid(op, "the time to live of %s of hub %q is %s; use %s to %s, or 0 for the default", what, h.Name, ttl, minTTL, maxMessageTTL)
	case lock != 0 && (lock < minLock || lock > maxLock):
		return invalid(op, "the lock duration of %s of hub %q is %s; use %s to %s, or 0 for the default", what, h.Name, lock, minLock, maxLock)
	case deliveries < 0 || deliveries > maxDeliveries:
		return invalid(op, "the maximum delivery count of %s of hub %q is %d; use 1 to %d, or 0 for the default", what, h.Name, deliveries, maxDeliveries)
	}
	return nil
}

// label reports whether s is a host label in lower case.
func label(s string) bool {
	if s == "" || len(s) > maxNameLength || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') })
}

// ValidHost reports whether s is a DNS name in lower case or an IP address.
func ValidHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > maxHostLength {
		return false
	}
	for l := range strings.SplitSeq(s, ".") {
		if !label(l) {
			return false
		}
	}
	return true
}

// word reports whether s may name a policy or an authority.
func word(s string) bool {
	return s != "" && len(s) <= maxWordLength && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	})
}

// canonical returns the form of a host name that hubs are found by: lower case,
// without port, brackets of an IPv6 address, and the dot of an absolute name.
func canonical(host string) string {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			host = host[1:end]
		}
	} else if i := strings.IndexByte(host, ':'); i >= 0 && strings.LastIndexByte(host, ':') == i {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
