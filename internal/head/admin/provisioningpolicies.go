package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/obs"
)

// PolicyName names a policy of a provisioning service.
type PolicyName struct {
	Policy string `path:"policy" maxLength:"64" example:"provisioningserviceowner"`
}

type provisioningPoliciesOutput struct {
	Body struct {
		Policies []provisioningPolicyBody `json:"policies" nullable:"false" doc:"Without their keys"`
	}
}

type provisioningPolicyOutput struct{ Body provisioningPolicyBody }

type provisioningPolicyPath struct {
	ServicePath
	PolicyName
}

type changedPolicyPath struct {
	ChangedPath
	PolicyName
}

type putProvisioningPolicyInput struct {
	ChangedPath
	PolicyName
	Body struct {
		Rights []string `json:"rights" minItems:"1" maxItems:"5" nullable:"false" doc:"ServiceConfig, EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite; to write includes to read"`
	}
}

type regenerateProvisioningKeyInput struct {
	ChangedPath
	PolicyName
	Body struct {
		Key string `json:"key" enum:"primary,secondary,swap" doc:"Which key to replace by a new one, or swap to exchange the two"`
	}
}

func (s *Server) addProvisioningPolicies(api huma.API) {
	const path = "/provisioning/{service}/policies"
	list := operation("listProvisioningPolicies", http.MethodGet, path, "provisioning", "List the shared access policies of a provisioning service, without keys", 0)
	list.Errors = append(list.Errors, http.StatusNotFound)
	huma.Register(api, list, s.listProvisioningPolicies)

	keys := operation("listProvisioningKeys", http.MethodPost, path+"/{policy}/keys", "provisioning", "Show a policy of a provisioning service with its keys and connection string", 0)
	keys.Errors = append(keys.Errors, http.StatusNotFound)
	huma.Register(api, keys, s.provisioningKeys)

	put := operation("putProvisioningPolicy", http.MethodPut, path+"/{policy}", "provisioning", "Create a policy with two new keys, or give one other rights", 0)
	put.Errors = append(put.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, put, s.putProvisioningPolicy)

	del := operation("deleteProvisioningPolicy", http.MethodDelete, path+"/{policy}", "provisioning", "Delete a policy, and refuse what was signed with its keys", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound, http.StatusPreconditionFailed)
	huma.Register(api, del, s.deleteProvisioningPolicy)

	regenerate := operation("regenerateProvisioningKey", http.MethodPost, path+"/{policy}/regenerate", "provisioning", "Replace a key of a policy, and refuse what was signed with the old one", 0)
	regenerate.Errors = append(regenerate.Errors, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, regenerate, s.regenerateProvisioningKey)
}

func (s *Server) listProvisioningPolicies(ctx context.Context, in *ServicePath) (*provisioningPoliciesOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &provisioningPoliciesOutput{}
	out.Body.Policies = s.newService(&i).Policies
	return out, nil
}

func (s *Server) provisioningKeys(ctx context.Context, in *provisioningPolicyPath) (*provisioningPolicyOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.provisioningPolicy(ctx, &i, in.Policy, true)
}

// provisioningPolicy answers with one policy.
func (s *Server) provisioningPolicy(ctx context.Context, i *dps.Instance, name string, keys bool) (*provisioningPolicyOutput, error) {
	p, ok := i.Policy(name)
	if !ok {
		return nil, s.problem(ctx, causeway.Errorf(dps.CodeNotFound, "admin.provisioning", "the provisioning service %q has no policy %q", i.Name, name))
	}
	return &provisioningPolicyOutput{newProvisioningPolicy(i, p, keys)}, nil
}

func (s *Server) putProvisioningPolicy(ctx context.Context, in *putProvisioningPolicyInput) (*provisioningPolicyOutput, error) {
	rights, err := dps.ParseRights(in.Body.Rights)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	made := false
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error {
		made = i.PutPolicy(in.Policy, rights)
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "provisioning policy changed", "service", i.Name, obs.KeyPolicy, in.Policy, "rights", rights.String(), "new", made)
	return s.provisioningPolicy(ctx, &i, in.Policy, made)
}

func (s *Server) deleteProvisioningPolicy(ctx context.Context, in *changedPolicyPath) (*struct{}, error) {
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error { return i.RemovePolicy(in.Policy) })
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "provisioning policy deleted", "service", i.Name, obs.KeyPolicy, in.Policy)
	return nil, nil
}

func (s *Server) regenerateProvisioningKey(ctx context.Context, in *regenerateProvisioningKeyInput) (*provisioningPolicyOutput, error) {
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error { return i.RegenerateKey(in.Policy, in.Body.Key) })
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "provisioning policy key replaced", "service", i.Name, obs.KeyPolicy, in.Policy, "which", in.Body.Key)
	return s.provisioningPolicy(ctx, &i, in.Policy, true)
}
