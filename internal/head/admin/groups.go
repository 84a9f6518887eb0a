package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/obs"
)

// groupBody shows a consumer group of a hub.
type groupBody struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

func newGroup(g directory.ConsumerGroup) groupBody { return groupBody{g.Name, g.Created.UTC()} }

// GroupPath names a consumer group of a hub.
type GroupPath struct {
	HubPath
	Name string `path:"name" maxLength:"50" doc:"Name of the consumer group; case does not matter" example:"analytics"`
}

type groupOutput struct{ Body groupBody }

type groupsOutput struct {
	Body struct {
		ConsumerGroups []groupBody `json:"consumerGroups" nullable:"false" doc:"By name, $Default first"`
	}
}

func (s *Server) addGroups(api huma.API) {
	list := operation("listConsumerGroups", http.MethodGet, "/hubs/{hub}/consumer-groups", "consumer groups", "List the groups in which the events of a hub are read", auth.ServiceConnect)
	list.Errors = append(list.Errors, http.StatusNotFound)
	huma.Register(api, list, s.listGroups)

	put := operation("putConsumerGroup", http.MethodPut, "/hubs/{hub}/consumer-groups/{name}", "consumer groups", "Create a consumer group; a hub has at most 20", auth.AllRights)
	put.DefaultStatus = http.StatusCreated
	put.Errors = append(put.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity)
	huma.Register(api, put, s.putGroup)

	del := operation("deleteConsumerGroup", http.MethodDelete, "/hubs/{hub}/consumer-groups/{name}", "consumer groups", "Delete a consumer group; $Default stays", auth.AllRights)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusBadRequest, http.StatusNotFound)
	huma.Register(api, del, s.deleteGroup)
}

func (s *Server) listGroups(ctx context.Context, in *HubPath) (*groupsOutput, error) {
	groups, err := s.Directory.ConsumerGroups(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &groupsOutput{}
	out.Body.ConsumerGroups = make([]groupBody, 0, len(groups))
	for _, g := range groups {
		out.Body.ConsumerGroups = append(out.Body.ConsumerGroups, newGroup(g))
	}
	return out, nil
}

func (s *Server) putGroup(ctx context.Context, in *GroupPath) (*groupOutput, error) {
	g, err := s.Directory.CreateConsumerGroup(ctx, in.name(), in.Name)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "consumer group created", obs.KeyHub, in.name(), "group", g.Name)
	return &groupOutput{newGroup(g)}, nil
}

func (s *Server) deleteGroup(ctx context.Context, in *GroupPath) (*struct{}, error) {
	if err := s.Directory.DeleteConsumerGroup(ctx, in.name(), in.Name); err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "consumer group deleted", obs.KeyHub, in.name(), "group", in.Name)
	return nil, nil
}
