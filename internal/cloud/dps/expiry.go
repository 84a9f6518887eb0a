package dps

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ExpiryWarnings are how long before its end a certificate is warned about, once a
// day: first in time to plan, at last in time to act.
var ExpiryWarnings = [...]time.Duration{30 * day, 7 * day, day}

const day = 24 * time.Hour

// expiring is a certificate of a service whose end concerns many devices.
type expiring struct {
	service, name string // name of the authority
	group         string // enrollment group that has it as a signing certificate
	which         string // primary or secondary, of a group
	ends          time.Time
}

// expiring lists the certificates that devices depend on: authorities, signing
// certificates of groups, and the authorities that issue. Those of single devices
// are left out: there may be a million.
func (s *Service) expiring() (list []expiring) {
	for _, t := range s.current.Load().byName {
		for k := range t.Authorities {
			if c, err := t.Authorities[k].Certificate(); err == nil {
				list = append(list, expiring{service: t.Name, name: t.Authorities[k].Name, ends: c.NotAfter})
			}
		}
		if t.ca != nil {
			list = append(list, expiring{service: t.Name, name: issuingName, ends: t.ca.Certificate().NotAfter})
		}
		for k := range t.groups {
			a := &t.groups[k].Attestation
			for which, der := range map[string][]byte{"primary": a.Primary, "secondary": a.Secondary} {
				if c, err := x509.ParseCertificate(der); err == nil {
					list = append(list, expiring{service: t.Name, group: t.groups[k].ID, which: which, ends: c.NotAfter})
				}
			}
		}
	}
	return list
}

// issuingName stands for the authority of the service itself in metrics. No
// authority that was uploaded can be called so.
const issuingName = "(issuing)"

// Expiry is the metrics of when certificates end.
type Expiry struct{ Service *Service }

var _ prometheus.Collector = Expiry{}

var (
	authorityExpiry = prometheus.NewDesc("causeway_dps_authority_expiry_seconds",
		"Seconds until an authority of a provisioning service ends; less than zero when it has ended.", []string{"service", "authority"}, nil)
	groupExpiry = prometheus.NewDesc("causeway_dps_group_certificate_expiry_seconds",
		"Seconds until a signing certificate of an enrollment group ends; less than zero when it has ended.", []string{"service", "group", "certificate"}, nil)
)

// Describe implements [prometheus.Collector].
func (e Expiry) Describe(ch chan<- *prometheus.Desc) {
	ch <- authorityExpiry
	ch <- groupExpiry
}

// Collect implements [prometheus.Collector].
func (e Expiry) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for _, x := range e.Service.expiring() {
		left := x.ends.Sub(now).Seconds()
		if x.group != "" {
			ch <- prometheus.MustNewConstMetric(groupExpiry, prometheus.GaugeValue, left, x.service, x.group, x.which)
		} else {
			ch <- prometheus.MustNewConstMetric(authorityExpiry, prometheus.GaugeValue, left, x.service, x.name)
		}
	}
}

// watch warns of certificates that end, and retires those that have ended, until
// ctx does.
func (s *Service) watch(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for next := time.Now(); ; {
		if now := time.Now(); !now.Before(next) {
			s.warn(now)
			next = now.Add(day)
		}
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// warn says what ends soon.
func (s *Service) warn(now time.Time) {
	for _, x := range s.expiring() {
		left := x.ends.Sub(now)
		if left > ExpiryWarnings[0] || x.name == issuingName { // which is replaced in time
			continue
		}
		level, text := slog.LevelWarn, "a certificate of a provisioning service ends soon; upload its successor as the secondary one"
		switch {
		case left <= 0:
			level, text = slog.LevelError, "a certificate of a provisioning service has ended; its devices are refused"
		case left <= ExpiryWarnings[2]:
			level, text = slog.LevelError, "a certificate of a provisioning service ends within a day; its devices will be refused"
		case left <= ExpiryWarnings[1]:
			text = "a certificate of a provisioning service ends within a week; upload its successor as the secondary one"
		}
		s.log.Log(context.Background(), level, text, "service", x.service, "authority", x.name, "group", x.group, "certificate", x.which, "ends", x.ends.UTC())
	}
}

// sweep takes issued certificates that have ended from the hubs of their devices,
// which do not look at dates, and forgets them. What cannot be done now is done the
// next time; a hub that does not answer is not asked again until then.
func (s *Service) sweep(ctx context.Context) {
	now := time.Now()
	for _, t := range s.current.Load().byName {
		away := map[string]bool{}
		for from := (time.Time{}); ; {
			ended, err := s.store.EndedIssued(ctx, t.Name, from, now, MaxPage)
			if err != nil {
				if ctx.Err() == nil {
					s.log.Error("certificates that have ended cannot be listed; it is tried again", "service", t.Name, "error", err)
				}
				break
			}
			for i := range ended {
				s.forget(ctx, t, &ended[i], away)
				if ctx.Err() != nil {
					return
				}
			}
			if len(ended) < MaxPage {
				break
			}
			// A page all of one moment is not gone through twice.
			if from = ended[len(ended)-1].NotAfter; from.Equal(ended[0].NotAfter) {
				from = from.Add(time.Microsecond)
			}
		}
	}
}

// forget retires a certificate that has ended, and forgets it. Away are the hubs
// that do not answer.
func (s *Service) forget(ctx context.Context, t *tenant, i *Issued, away map[string]bool) {
	hub, err := s.retire(ctx, t, i, away)
	if err == nil {
		err = s.store.DeleteIssued(ctx, t.Name, i.Serial)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errAway) {
		away[hub] = hub != ""
		s.log.Warn("a certificate that has ended cannot be taken from its hub; it is tried again", "service", t.Name, "hub", hub,
			"registration", i.Registration, "serial", i.Serial, "error", err)
	}
}

// IssuedTo returns up to limit certificates that were issued to a registration, or
// to all when it is "", in the order of their serial numbers, from the first that
// is greater than after. Limit is as with Enrollments. Code: CodeNotFound (of the
// service).
func (s *Service) IssuedTo(ctx context.Context, service, registration, after string, limit int) ([]Issued, error) {
	if s.current.Load().byName[service] == nil {
		return nil, noService(service)
	}
	return s.store.IssuedTo(ctx, service, registration, after, page(limit))
}

// Revoked reports whether a certificate that was issued is revoked.
func (s *Service) Revoked(service string, i *Issued) bool {
	s.revocations.mu.RLock()
	defer s.revocations.mu.RUnlock()
	ids := s.revocations.by[service]
	_, serial := ids[revocationID(i.Issuer, i.Serial)]
	_, thumb := ids[i.Thumbprint]
	return serial || thumb
}
