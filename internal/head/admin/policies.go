package admin

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/obs"
)

// policyBody shows a policy with its keys: who sees it owns the hub.
type policyBody struct {
	Name             string   `json:"name"`
	Rights           []string `json:"rights" nullable:"false" doc:"RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect"`
	PrimaryKey       string   `json:"primaryKey" doc:"Base64"`
	SecondaryKey     string   `json:"secondaryKey" doc:"Base64"`
	ConnectionString string   `json:"connectionString" doc:"With the primary key"`
}

func newPolicies(h directory.Hub) []policyBody {
	out := make([]policyBody, 0, len(h.Policies))
	for _, p := range h.Policies {
		text, _ := h.ConnectionString(p.Name)
		out = append(out, policyBody{
			Name: p.Name, Rights: strings.Split(p.Rights.String(), ", "),
			PrimaryKey: string(p.Primary), SecondaryKey: string(p.Secondary), ConnectionString: text,
		})
	}
	return out
}

type policiesOutput struct {
	Body struct {
		Policies []policyBody `json:"policies" nullable:"false"`
	}
}

type policyOutput struct{ Body policyBody }

type regenerateInput struct {
	HubPath
	Policy string `path:"policy" maxLength:"64" example:"iothubowner"`
	Body   struct {
		Key string `json:"key" enum:"primary,secondary,swap" doc:"Which key to replace by a new one, or swap to exchange the two"`
	}
}

func (s *Server) addPolicies(api huma.API) {
	list := operation("listPolicies", http.MethodGet, "/hubs/{hub}/policies", "policies", "Show the shared access policies of a hub with keys and connection strings", auth.AllRights)
	list.Errors = append(list.Errors, http.StatusNotFound)
	huma.Register(api, list, s.listPolicies)

	regenerate := operation("regenerateKey", http.MethodPost, "/hubs/{hub}/policies/{policy}/regenerate", "policies", "Replace a key of a policy, and refuse what was signed with the old one", auth.AllRights)
	regenerate.Errors = append(regenerate.Errors, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, regenerate, s.regenerateKey)
}

func (s *Server) listPolicies(ctx context.Context, in *HubPath) (*policiesOutput, error) {
	h, err := s.find(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &policiesOutput{}
	out.Body.Policies = newPolicies(h)
	return out, nil
}

func (s *Server) regenerateKey(ctx context.Context, in *regenerateInput) (*policyOutput, error) {
	h, err := s.Directory.RegenerateKey(ctx, in.name(), in.Policy, in.Body.Key)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "policy key replaced", obs.KeyHub, h.Name, obs.KeyPolicy, in.Policy, "which", in.Body.Key)
	for _, p := range newPolicies(h) {
		if p.Name == in.Policy {
			return &policyOutput{p}, nil
		}
	}
	return nil, s.problem(ctx, causeway.Errorf(causeway.GenericNotFound, "admin.policy", "hub %q has no policy %q", h.Name, in.Policy))
}
