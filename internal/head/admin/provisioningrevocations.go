package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// revocationBody is a certificate that no longer counts.
type revocationBody struct {
	ID         string    `json:"id" doc:"What it is forgotten by"`
	Authority  string    `json:"certificate,omitempty" doc:"Name of the authority that issued it; none by a thumbprint, and for those that the service issued"`
	Serial     string    `json:"serialNumber,omitempty" doc:"Hexadecimal"`
	Thumbprint string    `json:"thumbprint,omitempty" doc:"Hexadecimal"`
	Reason     string    `json:"reason,omitempty"`
	Listed     bool      `json:"listed,omitempty" doc:"Whether it came with a revocation list of the authority"`
	At         time.Time `json:"revoked" doc:"When"`
}

func newRevocation(r *dps.Revocation) revocationBody {
	return revocationBody{
		ID: r.ID, Authority: r.Authority, Serial: r.Serial, Thumbprint: strings.ToUpper(r.Thumbprint), Reason: r.Reason, Listed: r.Listed, At: r.At.UTC(),
	}
}

type revocationsInput struct {
	ServicePath
	After string `query:"after" maxLength:"256" doc:"Go on after this id"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type revocationsOutput struct {
	Body struct {
		Revocations []revocationBody `json:"revocations" nullable:"false" doc:"By id"`
		After       string           `json:"after,omitempty" doc:"What to give for after to go on, when there may be more"`
	}
}

type revokeInput struct {
	ServicePath
	Body struct {
		Authority  string `json:"certificate,omitempty" maxLength:"128" doc:"Name of the authority that issued it; none for one that the service issued"`
		Serial     string `json:"serialNumber,omitempty" maxLength:"256" doc:"Hexadecimal; or give the thumbprint"`
		Thumbprint string `json:"thumbprint,omitempty" maxLength:"256" doc:"SHA-1 or SHA-256, hexadecimal"`
		Reason     string `json:"reason,omitempty" maxLength:"256"`
	}
}

type revocationOutput struct{ Body revocationBody }

// RevocationPath names a revocation of a provisioning service.
type RevocationPath struct {
	ServicePath
	ID string `path:"id" maxLength:"256" doc:"Id of the revocation"`
}

func (s *Server) addRevocations(api huma.API) {
	const path = "/provisioning/{service}/revocations"
	list := operation("listRevocations", http.MethodGet, path, "provisioning", "List the certificates that are revoked", 0)
	list.Errors = append(list.Errors, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, list, s.listRevocations)

	revoke := operation("revokeCertificate", http.MethodPost, path, "provisioning", "Revoke a certificate: who shows it is refused; one that was issued here goes from the hub of its device too", 0)
	revoke.Errors = append(revoke.Errors, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, revoke, s.revoke)

	del := operation("deleteRevocation", http.MethodDelete, path+"/{id}", "provisioning", "Forget a revocation", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound)
	huma.Register(api, del, s.unrevoke)
}

func (s *Server) listRevocations(ctx context.Context, in *revocationsInput) (*revocationsOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list, err := s.Provisioning.Revocations(ctx, i.Name, in.After, in.Limit)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &revocationsOutput{}
	out.Body.Revocations = make([]revocationBody, 0, len(list))
	for k := range list {
		out.Body.Revocations = append(out.Body.Revocations, newRevocation(&list[k]))
	}
	if len(list) == in.Limit {
		out.Body.After = list[len(list)-1].ID
	}
	return out, nil
}

func (s *Server) revoke(ctx context.Context, in *revokeInput) (*revocationOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	r, err := s.Provisioning.Revoke(ctx, i.Name, dps.Revocation{
		Authority: in.Body.Authority, Serial: in.Body.Serial, Thumbprint: in.Body.Thumbprint, Reason: in.Body.Reason,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &revocationOutput{newRevocation(&r)}, nil
}

func (s *Server) unrevoke(ctx context.Context, in *RevocationPath) (*struct{}, error) {
	i, err := s.service(in.name())
	if err == nil {
		err = s.Provisioning.Unrevoke(ctx, i.Name, in.ID)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "revocation forgotten", "service", i.Name, "id", in.ID)
	return nil, nil
}
