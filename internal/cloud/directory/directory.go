// Package directory knows which hubs this cloud hosts: their names, host names,
// shared access policies, registered certificate authorities and settings.
package directory

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/causeway-iot/causeway/internal/core/auth"
)

// Hub describes one hub.
type Hub struct {
	Name       string   // first host label, lower case, unique in the cloud
	Hosts      []string // names it answers to; the first is canonical
	Policies   []auth.Policy
	Authority  []Authority
	Partitions int // of the event log, fixed at creation
	Created    time.Time
	Settings   Settings
}

// Settings are the values of a hub that an operator may change. Zero means the
// default of the limit catalogue.
type Settings struct {
	RetentionTime    time.Duration `json:"retentionTime,omitempty"`  // of events
	RetentionBytes   int64         `json:"retentionBytes,omitempty"` // of events, 0 = unlimited
	CommandTTL       time.Duration `json:"commandTTL,omitempty"`     // default time to live of a command
	MaxDeliveryCount int           `json:"maxDeliveryCount,omitempty"`
	FeedbackTTL      time.Duration `json:"feedbackTTL,omitempty"`
}

// Authority is a certificate authority registered on a hub. Only verified ones
// authenticate devices.
type Authority struct {
	Name     string
	DER      []byte
	Verified bool
	Created  time.Time
}

// Certificate parses the authority's certificate.
func (a Authority) Certificate() (*x509.Certificate, error) { return x509.ParseCertificate(a.DER) }

// Store keeps hubs durably. Policy keys arrive sealed.
type Store interface {
	// Hubs returns all hubs.
	Hubs(ctx context.Context) ([]Hub, error)
	// PutHub creates or replaces a hub, durably.
	PutHub(ctx context.Context, h Hub) error
	// DeleteHub forgets a hub and everything keyed by it.
	DeleteHub(ctx context.Context, name string) error
}
