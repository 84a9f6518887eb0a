package dps

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/keyed"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/core/secret"
)

// Options are what a [Service] needs. Log may be nil.
type Options struct {
	Store   Store
	Sealer  secret.Sealer
	Targets Targets
	Caller  Caller                // of the webhooks of custom allocations; nil refuses them
	Metrics prometheus.Registerer // nil for none
	Log     *slog.Logger
}

// Service is the provisioning services of a cloud. It is safe for concurrent use.
type Service struct {
	store   Store
	sealer  secret.Sealer
	targets Targets
	caller  Caller
	log     *slog.Logger

	current atomic.Pointer[snapshot]
	mu      sync.Mutex // held by changes of services and of groups
	// What the log was told of that is stored and makes no sense; guarded by mu.
	complained map[string]bool
	// Held by changes of what is revoked; taken before mu.
	revoking    sync.Mutex
	revocations revocations
	locks       keyed.Locks[string] // of registrations and enrollments
	nonces      nonces
	decoy       Enrollment // that is checked where there is none
	queue       queue
	asking      queue // those that a webhook must be asked for
	claims      claims
	throttles   throttles
	health      health
	refusals    chan refusal // to be put on record
	skipping    sync.Mutex
	skipped     map[string]int // refusals that are not on record, by service
	metrics     *Metrics
}

// snapshot is the services and the groups that devices are tried against. It
// never changes.
type snapshot struct {
	instances []Instance
	byName    map[string]*tenant
	byScope   map[string]*tenant
	byHost    map[string]*tenant
	// damaged is why services that are stored are not there, by name.
	damaged map[string]error
}

// tenant is one service with its groups.
type tenant struct {
	Instance
	groups  []group
	limits  [NumLimits]int      // of its throttle
	ca      *pki.CA             // that issues certificates, or nil
	anchors []*x509.Certificate // that issued certificates lead to
}

// group is an enrollment group with its certificates parsed.
type group struct {
	Enrollment
	signing []*x509.Certificate
}

// New returns a service on what o.Store has. It fails when the store cannot be
// read, or when keys do not open and there is no service of which they do: the
// key of the sealer is another. A service that cannot be read, or of which a key
// does not open, is set aside; the others are served.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Store == nil || o.Sealer == nil || o.Targets == nil {
		panic("dps.New: Store, Sealer and Targets are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		store: o.Store, sealer: o.Sealer, targets: o.Targets, caller: o.Caller, log: o.Log, decoy: newDecoy(),
		metrics: NewMetrics(o.Metrics), refusals: make(chan refusal, maxRefusals), skipped: map[string]int{},
	}
	s.health.noted = s.metrics.hub
	s.metrics.watch(o.Metrics, func() float64 { return float64(s.queue.length() + s.asking.length()) })
	s.nonces.init()
	if err := s.reload(ctx); err != nil {
		return nil, fmt.Errorf("load provisioning services: %w", err)
	}
	for _, i := range s.Instances() {
		if err := s.loadRevocations(ctx, i.Name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// reload reads services and groups anew. The mutex is held, or nobody knows s yet.
func (s *Service) reload(ctx context.Context) error {
	list, err := s.store.Instances(ctx)
	if err != nil {
		return err
	}
	n := &snapshot{byName: map[string]*tenant{}, byScope: map[string]*tenant{}, byHost: map[string]*tenant{}, damaged: map[string]error{}}
	var sealed error // keys that do not open
	for k := range list {
		t, err := s.open(&list[k])
		if err != nil {
			n.damaged[list[k].Name] = err
			if list[k].Damaged == nil {
				sealed = errors.Join(sealed, err)
			}
			s.complain("a provisioning service is not served: what is stored of it cannot be read; restore it from a backup, or delete it", list[k].Name, "", err)
			continue
		}
		groups, err := s.store.Enrollments(ctx, t.Name, true, "", MaxGroups)
		if err != nil {
			return fmt.Errorf("groups of service %s: %w", t.Name, err)
		}
		for _, e := range groups {
			if err := s.openEnrollment(t.Name, &e); err != nil {
				s.complain("a group takes no devices: its keys do not open; give it others, or delete it", t.Name, e.ID, err)
				continue
			}
			t.groups = append(t.groups, group{Enrollment: e, signing: t.signing(&e)})
		}
		n.instances = append(n.instances, t.Instance)
		n.byName[t.Name], n.byScope[fold(t.IDScope)] = t, t
		for _, h := range t.Hosts {
			n.byHost[h] = t
		}
	}
	if sealed != nil && len(n.instances) == 0 && s.current.Load() == nil {
		return sealed // the key of the sealer is another
	}
	s.current.Store(n)
	return nil
}

// open makes a service ready.
func (s *Service) open(i *Instance) (*tenant, error) {
	if i.Damaged != nil {
		return nil, i.Damaged
	}
	if err := s.openInstance(i); err != nil {
		return nil, fmt.Errorf("service %s: %w", i.Name, err)
	}
	t := &tenant{Instance: *i}
	var err error
	if t.limits, err = t.Throttle.Resolve(); err != nil {
		s.complain("the throttle of a provisioning service makes no sense: it has none until it is mended", t.Name, "", err)
		t.limits = [NumLimits]int{}
	}
	for j := range t.Issuers {
		ca, _, err := t.Issuers[j].open()
		if err != nil {
			return nil, fmt.Errorf("issuer of service %s: %w", t.Name, err)
		}
		t.ca, t.anchors = ca, append(t.anchors, ca.Certificate())
	}
	return t, nil
}

// complain tells of what is stored and makes no sense, once. The mutex is held,
// or nobody knows s yet.
func (s *Service) complain(what, service, group string, err error) {
	id := what + "\x00" + service + "\x00" + group
	if s.complained == nil {
		s.complained = map[string]bool{}
	}
	if s.complained[id] || len(s.complained) >= maxComplaints {
		return
	}
	s.complained[id] = true
	s.log.Error(what, "service", service, "group", group, "error", err)
}

// Damaged returns the names of services that are stored and cannot be read, in
// their order. They are not served, but can be deleted.
func (s *Service) Damaged() []string { return slices.Sorted(maps.Keys(s.current.Load().damaged)) }

// signing returns the certificates that an enrollment accepts as issuers or, of a
// single device, as its own.
func (i *Instance) signing(e *Enrollment) (certs []*x509.Certificate) {
	if e.Attestation.Kind != X509 {
		return nil
	}
	for _, der := range [][]byte{e.Attestation.Primary, e.Attestation.Secondary} {
		if c, err := x509.ParseCertificate(der); err == nil {
			certs = append(certs, c)
		}
	}
	for _, name := range []string{e.Attestation.PrimaryAuthority, e.Attestation.SecondaryAuthority} {
		if c := i.authority(name); name != "" && c != nil {
			certs = append(certs, c)
		}
	}
	return certs
}

// Instances returns all services in the order of their names.
func (s *Service) Instances() []Instance { return slices.Clone(s.current.Load().instances) }

// Instance returns the service of that name.
func (s *Service) Instance(name string) (Instance, bool) {
	if t := s.current.Load().byName[name]; t != nil {
		return t.Instance, true
	}
	return Instance{}, false
}

// ByHost returns the service whose API answers to a host name without port; case
// does not matter.
func (s *Service) ByHost(host string) (Instance, bool) {
	if t := s.current.Load().byHost[strings.ToLower(host)]; t != nil {
		return t.Instance, true
	}
	return Instance{}, false
}

// ByScope returns the service of an id scope; case does not matter.
func (s *Service) ByScope(scope string) (Instance, bool) {
	if t := s.current.Load().byScope[fold(scope)]; t != nil {
		return t.Instance, true
	}
	return Instance{}, false
}

// Create makes a service with an id scope of its own and the owner policy.
// Codes: CodeInvalid, CodeConflict.
func (s *Service) Create(ctx context.Context, name string, hosts []string) (Instance, error) {
	name = strings.ToLower(name)
	if !ValidID(name) {
		return Instance{}, invalid("%q is no name of a service: it has 1 to %d letters, digits and characters of . _ -", clip(name), MaxID)
	}
	if len(hosts) == 0 {
		hosts = []string{name}
	}
	i := Instance{
		Name: name, IDScope: newScope(), Allocation: Hashed, Created: time.Now().UTC(),
		Policies: []AccessPolicy{{Name: OwnerPolicy, Primary: newKey(), Secondary: newKey(), Rights: AllRights}},
	}
	for _, h := range hosts {
		i.Hosts = append(i.Hosts, strings.ToLower(h))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.current.Load()
	if now.byName[name] != nil {
		return Instance{}, causeway.Errorf(CodeConflict, "dps.Create", "there is a provisioning service %q already", name)
	}
	if now.damaged[name] != nil {
		return Instance{}, causeway.Errorf(CodeConflict, "dps.Create", "there is a provisioning service %q, but what is stored of it cannot be read: restore it from a backup, or delete it first", name)
	}
	if len(now.instances) >= MaxServices {
		return Instance{}, causeway.Errorf(CodeTooMany, "dps.Create", "there are %d provisioning services, the most there may be: delete one first", len(now.instances))
	}
	for now.byScope[fold(i.IDScope)] != nil {
		i.IDScope = newScope()
	}
	if err := i.check(now); err != nil {
		return Instance{}, err
	}
	return i, s.put(ctx, i)
}

// Change changes a service: its hosts, policies, links, allocation or
// authorities. Codes: CodeNotFound, CodeInvalid, and those of change.
func (s *Service) Change(ctx context.Context, name string, change func(*Instance) error) (Instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.current.Load()
	t := now.byName[name]
	if t == nil {
		return Instance{}, noService(name)
	}
	i := t.Instance
	i.Hosts, i.Policies = slices.Clone(i.Hosts), slices.Clone(i.Policies)
	i.Links, i.Authorities = slices.Clone(i.Links), slices.Clone(i.Authorities)
	i.Throttle.Limits = maps.Clone(i.Throttle.Limits)
	i.Geo.Networks, i.Geo.Latencies = slices.Clone(i.Geo.Networks), slices.Clone(i.Geo.Latencies)
	i.Issuers, i.Credentials = slices.Clone(i.Issuers), slices.Clone(i.Credentials)
	if err := change(&i); err != nil {
		return Instance{}, err
	}
	i.Name, i.IDScope, i.Created = t.Name, t.IDScope, t.Created
	if err := i.check(now); err != nil {
		return Instance{}, err
	}
	return i, s.put(ctx, i)
}

// Delete forgets a service with its enrollments and registrations. Devices stay
// on their hubs. Code: CodeNotFound.
func (s *Service) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx = context.WithoutCancel(ctx) // see put
	if now := s.current.Load(); now.byName[name] == nil && now.damaged[name] == nil {
		return noService(name)
	}
	if err := s.store.DeleteInstance(ctx, name); err != nil {
		return fmt.Errorf("delete provisioning service %s: %w", name, err)
	}
	s.revocations.set(name, nil)
	return s.reload(ctx)
}

// put stores a service; the mutex is held. Who asks for that may go away meanwhile:
// what is stored must be what counts here all the same.
func (s *Service) put(ctx context.Context, i Instance) error {
	ctx = context.WithoutCancel(ctx)
	sealed, err := s.sealInstance(i)
	if err != nil {
		return err
	}
	if err := s.store.PutInstance(ctx, sealed); err != nil {
		return fmt.Errorf("store provisioning service %s: %w", i.Name, err)
	}
	return s.reload(ctx)
}

// check checks a service that is to be stored beside those there are now.
func (i *Instance) check(now *snapshot) error {
	switch {
	case len(i.Hosts) == 0:
		return invalid("a provisioning service needs a host name")
	case len(i.Links) > MaxHubs:
		return invalid("%d hubs are linked, at most %d are accepted", len(i.Links), MaxHubs)
	case len(i.Authorities) > MaxAuthorities:
		return invalid("there are %d certificates, at most %d are accepted", len(i.Authorities), MaxAuthorities)
	}
	switch i.Allocation {
	case Hashed, GeoLatency, Static:
	default:
		return invalid("allocationPolicy %q is none of hashed, geoLatency and static", clip(string(i.Allocation)))
	}
	if err := i.checkThrottle(); err != nil {
		return err
	}
	if err := i.Geo.check(); err != nil {
		return err
	}
	if err := i.checkHosts(now); err != nil {
		return err
	}
	if err := i.checkPolicies(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for k := range i.Links {
		l := &i.Links[k]
		l.Host = strings.ToLower(l.Host)
		if l.Weight == 0 {
			l.Weight = 1
		}
		switch {
		case !validHost(l.Host):
			return invalid("%q is no host name of a hub", clip(l.Host))
		case seen[l.Host]:
			return invalid("the hub %q is linked twice", l.Host)
		case l.Weight < 1 || l.Weight > MaxWeight:
			return invalid("the weight %d of hub %q is not within 1 and %d", l.Weight, l.Host, MaxWeight)
		case len(l.Region) > MaxRegion || strings.ContainsFunc(l.Region, unicode.IsControl):
			return invalid("the region of hub %q is no name of at most %d characters", l.Host, MaxRegion)
		}
		seen[l.Host] = true
	}
	return nil
}

func noService(name string) error {
	return causeway.Errorf(CodeNotFound, "dps", "there is no provisioning service %q", clip(name))
}

// validDevice reports whether s can be the id of a device on a hub.
func validDevice(s string) bool { return registry.ValidID(s) }

// newKey returns a key as the service makes them.
func newKey() causeway.Secret {
	return causeway.Secret(base64.StdEncoding.EncodeToString(random(keyBytes)))
}

// newScope returns an id scope: what devices in the field are told, so short, and
// without letters that look alike.
func newScope() string { return "0ne" + strings.ToUpper(hex.EncodeToString(random(4))) }

func newETag() string { return base64.StdEncoding.EncodeToString(random(12)) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
