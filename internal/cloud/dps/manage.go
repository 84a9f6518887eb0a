package dps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
)

// What an administrator changes of a service, for use with [Service.Change].

// ParseRights reads the names of rights; case does not matter. Code: CodeInvalid.
func ParseRights(names []string) (r Rights, err error) {
	for _, name := range names {
		i := slices.IndexFunc(rightNames[:], func(n string) bool { return strings.EqualFold(n, name) })
		if i < 0 {
			return 0, invalid("%q is no right of a policy: use %s", clip(name), strings.Join(rightNames[:], ", "))
		}
		r |= 1 << i
	}
	return r, nil
}

// PutPolicy gives a policy other rights, or makes it with two new keys. It reports
// whether it was made.
func (i *Instance) PutPolicy(name string, rights Rights) (made bool) {
	if k := i.policy(name); k >= 0 {
		i.Policies[k].Rights = rights
		return false
	}
	i.Policies = append(i.Policies, AccessPolicy{Name: name, Primary: newKey(), Secondary: newKey(), Rights: rights})
	return true
}

// RemovePolicy removes a policy: tokens that were signed with its keys are refused
// from then on. Code: CodeNotFound.
func (i *Instance) RemovePolicy(name string) error {
	k := i.policy(name)
	if k < 0 {
		return i.noPolicy(name)
	}
	i.Policies = slices.Delete(i.Policies, k, k+1)
	return nil
}

// RegenerateKey gives a policy a new random key: which is "primary" or
// "secondary", or "swap" to exchange the two. Codes: CodeNotFound, CodeInvalid.
func (i *Instance) RegenerateKey(policy, which string) error {
	k := i.policy(policy)
	if k < 0 {
		return i.noPolicy(policy)
	}
	switch p := &i.Policies[k]; which {
	case "primary":
		p.Primary = newKey()
	case "secondary":
		p.Secondary = newKey()
	case "swap":
		p.Primary, p.Secondary = p.Secondary, p.Primary
	default:
		return invalid("%q is no key of a policy: use primary, secondary or swap", clip(which))
	}
	return nil
}

func (i *Instance) policy(name string) int {
	return slices.IndexFunc(i.Policies, func(p AccessPolicy) bool { return p.Name == name })
}

func (i *Instance) noPolicy(name string) error {
	return causeway.Errorf(CodeNotFound, "dps.policy", "the provisioning service %q has no policy %q", i.Name, clip(name))
}

// PutLink links a hub, or changes how it is linked. It reports whether it is new.
func (i *Instance) PutLink(l Link) (added bool) {
	if k := i.link(l.Host); k >= 0 {
		i.Links[k] = l
		return false
	}
	i.Links = append(i.Links, l)
	return true
}

// RemoveLink unlinks a hub. Devices that it has stay there until they register
// again. Code: CodeNotFound.
func (i *Instance) RemoveLink(host string) error {
	k := i.link(host)
	if k < 0 {
		return causeway.Errorf(CodeNotFound, "dps.hub", "the hub %q is not linked to the provisioning service %q", clip(host), i.Name)
	}
	i.Links = slices.Delete(i.Links, k, k+1)
	return nil
}

func (i *Instance) link(host string) int {
	return slices.IndexFunc(i.Links, func(l Link) bool { return strings.EqualFold(l.Host, host) })
}

// checkPolicies checks the policies of a service that is to be stored.
func (i *Instance) checkPolicies() error {
	if len(i.Policies) > MaxPolicies {
		return invalid("there are %d policies, at most %d are accepted", len(i.Policies), MaxPolicies)
	}
	seen := map[string]bool{}
	for _, p := range i.Policies {
		switch {
		case !ValidID(p.Name) || len(p.Name) > MaxPolicyName:
			return invalid("%q is no name of a policy: it has 1 to %d letters, digits and characters of . _ - :, and ends in a letter, a digit or '-'", clip(p.Name), MaxPolicyName)
		case seen[p.Name]:
			return invalid("there are two policies %q", p.Name)
		case p.Rights == 0 || p.Rights&^AllRights != 0:
			return invalid("the policy %q needs rights: %s", p.Name, AllRights)
		}
		seen[p.Name] = true
	}
	return nil
}

// checkHosts checks the host names of a service that is to be stored, and that no
// other has them.
func (i *Instance) checkHosts(now *snapshot) error {
	if len(i.Hosts) > MaxHosts {
		return invalid("there are %d host names, at most %d are accepted", len(i.Hosts), MaxHosts)
	}
	for k, h := range i.Hosts {
		if !directory.ValidHost(h) {
			return invalid("%q is no host name of a provisioning service: use a DNS name or an IP address, without a port", clip(h))
		}
		if slices.Contains(i.Hosts[:k], h) {
			return invalid("the host name %q is there twice", h)
		}
		if t := now.byHost[h]; t != nil && t.Name != i.Name {
			return causeway.Errorf(CodeConflict, "dps", "the host name %q belongs to the provisioning service %q", h, t.Name)
		}
	}
	return nil
}

// validHost reports whether h can be the host name of a hub, which may be elsewhere
// and have a port.
func validHost(h string) bool {
	return h != "" && len(h) <= 253 && !strings.ContainsAny(h, "/?#@\\ \t\r\n\x00;=[]")
}

// Unlink removes the links that gone reports from all services, and returns how
// many there were.
func (s *Service) Unlink(ctx context.Context, gone func(Link) bool) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.current.Load().instances {
		kept := slices.DeleteFunc(slices.Clone(i.Links), gone)
		if len(kept) == len(i.Links) {
			continue
		}
		n += len(i.Links) - len(kept)
		i.Links = kept
		if err := s.put(ctx, i); err != nil {
			return n, fmt.Errorf("unlink hubs: %w", err)
		}
	}
	return n, nil
}
