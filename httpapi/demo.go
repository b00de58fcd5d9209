package httpapi

import (
	"errors"
	"net/http"
)

// act does something to a process of the demo. It leaves no event: the cluster
// may be without a quorum, which is when these are wanted most.
func (c *call) act(node, act string) error {
	err := c.api.Demo.Act(c.r.Context(), node, act)
	switch {
	case errors.Is(err, ErrUnknownNode):
		return notFound("There is no such node in this demo.")
	case errors.Is(err, ErrNotNow):
		return newProblem(codeNotNow, "Look at its state on the cluster page first.")
	case err != nil:
		p := newProblem(codeDemo, err.Error())
		p.cause = err
		return p
	}
	c.api.Log.Info("demo act", "request", c.id, "node", node, "act", act, "user", c.who.user.ID)
	return nil
}

func postDemo(c *call) error {
	node, act := c.vars("node"), c.vars("act")
	if err := c.act(node, act); err != nil {
		return err
	}
	return c.json(http.StatusOK, demoActJSON{node, act})
}

type demoActJSON struct {
	NodeID string `json:"node_id"`
	Act    string `json:"act"`
}

// getDemoAccounts gives the sample people. The route is there only in a demo,
// whose passwords are printed on its first page too.
func getDemoAccounts(c *call) error {
	return c.json(http.StatusOK, accountsJSON{c.api.Accounts})
}

type accountsJSON struct {
	Items []Account `json:"items"`
}
