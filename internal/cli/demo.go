package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"sealpost/internal/demo"
	"sealpost/internal/terminal"
)

type demoCommand struct {
	Attack  string `placeholder:"NAME" help:"Watch the relay try an attack instead; list names them."`
	Step    bool   `help:"Wait for Enter after each step."`
	NoColor bool   `help:"Do not use colours."`
	JSON    bool   `help:"Print each step as one line of JSON, with all bytes."`
}

// Run plays the demo.
func (c *demoCommand) Run(env *environment) error {
	play := demo.Run
	switch {
	case c.Attack == "list":
		for _, a := range demo.Attacks() {
			fmt.Fprintf(env.stdout, "%-20s %s\n", a.Name, a.Title)
		}
		return nil
	case c.Attack != "":
		if !demo.HasAttack(c.Attack) {
			return &userError{status: exitUsage, code: "UNKNOWN_ATTACK", err: fmt.Errorf("there is no attack %s", terminal.Printable(c.Attack)),
				hint: "sealpost demo --attack list names them"}
		}
		play = func(ctx context.Context, show func(demo.Step) error) error {
			return demo.RunAttack(ctx, c.Attack, show)
		}
	}
	if c.JSON {
		return play(env.ctx, demo.JSON(env.stdout))
	}
	screen := &demo.Screen{Out: env.stdout, Width: 80, Safe: terminal.Printable}
	if out, ok := env.stdout.(*os.File); ok && term.IsTerminal(int(out.Fd())) {
		screen.Color = !c.NoColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(int(out.Fd())); err == nil {
			screen.Width = width
		}
	}
	if c.Step {
		screen.Wait = waitForEnter(env)
	}
	return play(env.ctx, screen.Show)
}

// waitForEnter returns a function that waits for a line of input or the end of
// the program.
func waitForEnter(env *environment) func() error {
	lines := make(chan error)
	go func() {
		for reader := bufio.NewReader(env.stdin); ; {
			_, err := reader.ReadString('\n')
			lines <- err
			if err != nil {
				return
			}
		}
	}()
	ended := false
	return func() error {
		if ended {
			return nil
		}
		fmt.Fprint(env.stdout, "\n(Enter goes on) ")
		select {
		case <-env.ctx.Done():
			return env.ctx.Err()
		case err := <-lines:
			if errors.Is(err, io.EOF) { // nobody is there to press it: go on
				ended, err = true, nil
			}
			return err
		}
	}
}
