package admin

import (
	"context"
	"encoding/pem"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

func badRequest(format string, args ...any) error {
	return causeway.Errorf(dps.CodeInvalid, "admin.provisioning", format, args...)
}

// credentialBody says which certificates are issued.
type credentialBody struct {
	Name               string    `json:"name"`
	ETag               string    `json:"etag"`
	LifetimeSeconds    int64     `json:"lifetimeSeconds" doc:"How long a certificate is valid"`
	RenewBeforeSeconds int64     `json:"renewBeforeSeconds" doc:"How long before its end it may be renewed with itself as the proof; 0 is at any time"`
	KeyTypes           []string  `json:"keyTypes" nullable:"false" doc:"Types of keys that are accepted; none means all"`
	Created            time.Time `json:"created"`
	Updated            time.Time `json:"updated"`
}

func newCredential(p *dps.CredentialPolicy) credentialBody {
	return credentialBody{
		Name: p.Name, ETag: p.ETag, LifetimeSeconds: int64(p.Lifetime / time.Second), RenewBeforeSeconds: int64(p.RenewBefore / time.Second),
		KeyTypes: append([]string{}, p.KeyTypes...), Created: p.Created.UTC(), Updated: p.Updated.UTC(),
	}
}

type credentialOutput struct {
	ETag string `header:"ETag"`
	Body credentialBody
}

type credentialsOutput struct {
	Body struct {
		Policies []credentialBody `json:"credentialPolicies" nullable:"false"`
	}
}

// CredentialPath names a credential policy of a provisioning service.
type CredentialPath struct {
	ServicePath
	Policy string `path:"policy" maxLength:"128" doc:"Name of the credential policy" example:"operations"`
}

type putCredentialInput struct {
	CredentialPath
	Condition
	Body struct {
		LifetimeSeconds    int64    `json:"lifetimeSeconds" minimum:"3600" maximum:"63244800" doc:"How long a certificate is valid"`
		RenewBeforeSeconds int64    `json:"renewBeforeSeconds,omitempty" minimum:"0" maximum:"63244800" doc:"How long before its end it may be renewed with itself as the proof; 0 is at any time"`
		KeyTypes           []string `json:"keyTypes,omitempty" nullable:"false" maxItems:"8" doc:"Of ec-p256, ec-p384, ec-p521, ed25519, rsa-2048, rsa-3072 and rsa-4096; none means all"`
	}
}

type deleteCredentialInput struct {
	CredentialPath
	Condition
}

// issuedBody is a certificate that was issued to a device.
type issuedBody struct {
	Serial       string    `json:"serialNumber" doc:"Hexadecimal"`
	Thumbprint   string    `json:"thumbprint" doc:"SHA-256, hexadecimal"`
	Registration string    `json:"registrationId"`
	Group        string    `json:"enrollmentGroupId,omitempty"`
	Policy       string    `json:"credentialPolicyName"`
	Created      time.Time `json:"created"`
	Expiry       time.Time `json:"expiry"`
	Revoked      bool      `json:"revoked,omitempty"`
}

type issuedInput struct {
	ServicePath
	Registration string `query:"registrationId" maxLength:"128" doc:"Only those of this device"`
	After        string `query:"after" maxLength:"128" doc:"Go on after this serial number"`
	Limit        int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type issuedOutput struct {
	Body struct {
		Certificates []issuedBody `json:"certificates" nullable:"false" doc:"By serial number"`
		After        string       `json:"after,omitempty" doc:"What to give for after to go on, when there may be more"`
	}
}

type issuerOutput struct {
	Body struct {
		Certificates string `json:"certificates" doc:"PEM of the authorities, each root after those below it; empty before the first credential policy"`
	}
}

func (s *Server) addCredentials(api huma.API) {
	const path = "/provisioning/{service}/credentialPolicies"
	list := operation("listCredentialPolicies", http.MethodGet, path, "provisioning", "List the policies by which certificates are issued to devices", 0)
	list.Errors = append(list.Errors, http.StatusNotFound)
	huma.Register(api, list, s.listCredentials)

	put := operation("putCredentialPolicy", http.MethodPut, path+"/{policy}", "provisioning", "Create or change a credential policy; it counts for certificates issued from then on", 0)
	put.Errors = append(put.Errors, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, put, s.putCredential)

	del := operation("deleteCredentialPolicy", http.MethodDelete, path+"/{policy}", "provisioning", "Delete a credential policy that no enrollment refers to", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed)
	huma.Register(api, del, s.deleteCredential)

	issued := operation("listIssuedCertificates", http.MethodGet, "/provisioning/{service}/issuedCertificates", "provisioning", "List the certificates that were issued to devices and have not ended", 0)
	issued.Errors = append(issued.Errors, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, issued, s.listIssued)

	issuer := operation("getIssuer", http.MethodGet, "/provisioning/{service}/issuer", "provisioning", "Show the authorities that issue certificates to devices", 0)
	issuer.Errors = append(issuer.Errors, http.StatusNotFound)
	huma.Register(api, issuer, s.getIssuer)
}

func (s *Server) listCredentials(ctx context.Context, in *ServicePath) (*credentialsOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &credentialsOutput{}
	out.Body.Policies = make([]credentialBody, 0, len(i.Credentials))
	for k := range i.Credentials {
		out.Body.Policies = append(out.Body.Policies, newCredential(&i.Credentials[k]))
	}
	return out, nil
}

func (s *Server) putCredential(ctx context.Context, in *putCredentialInput) (*credentialOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	p, err := s.Provisioning.PutCredentialPolicy(ctx, i.Name, dps.CredentialPolicy{
		Name: in.Policy, Lifetime: time.Duration(in.Body.LifetimeSeconds) * time.Second, RenewBefore: time.Duration(in.Body.RenewBeforeSeconds) * time.Second,
		KeyTypes: in.Body.KeyTypes,
	}, in.match())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "credential policy stored", "service", i.Name, "policy", p.Name, "lifetime", p.Lifetime)
	return &credentialOutput{ETag: `"` + p.ETag + `"`, Body: newCredential(&p)}, nil
}

func (s *Server) deleteCredential(ctx context.Context, in *deleteCredentialInput) (*struct{}, error) {
	i, err := s.service(in.name())
	if err == nil {
		err = s.Provisioning.DeleteCredentialPolicy(ctx, i.Name, in.Policy, in.match())
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "credential policy deleted", "service", i.Name, "policy", in.Policy)
	return nil, nil
}

func (s *Server) listIssued(ctx context.Context, in *issuedInput) (*issuedOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list, err := s.Provisioning.IssuedTo(ctx, i.Name, in.Registration, in.After, in.Limit)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &issuedOutput{}
	out.Body.Certificates = make([]issuedBody, 0, len(list))
	for k := range list {
		c := &list[k]
		out.Body.Certificates = append(out.Body.Certificates, issuedBody{
			Serial: c.Serial, Thumbprint: strings.ToUpper(c.Thumbprint), Registration: c.Registration, Group: c.Group, Policy: c.Policy,
			Created: c.Created.UTC(), Expiry: c.NotAfter.UTC(), Revoked: s.Provisioning.Revoked(i.Name, c),
		})
	}
	if len(list) == in.Limit {
		out.Body.After = list[len(list)-1].Serial
	}
	return out, nil
}

func (s *Server) getIssuer(ctx context.Context, in *ServicePath) (*issuerOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	chain, err := s.Provisioning.IssuerChain(i.Name)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &issuerOutput{}
	for _, der := range chain {
		out.Body.Certificates += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out, nil
}
