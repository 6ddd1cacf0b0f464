using System;
using System.Collections;
using UnityEngine;
using UnityEngine.InputSystem;
using UnityEngine.InputSystem.LowLevel;
using UnityEngine.Rendering;

public class UnityPlayer : MonoBehaviour
{
    public string server = "http://127.0.0.1:8000";
    Gi.Session session;
    RenderTexture screen;

    async void Start()
    {
        session = new Gi.Session(server, new Gi.Options { OnStatus = (kind, words) => Debug.Log("gi " + kind + ": " + words) });
        try { await session.OpenAsync(); StartCoroutine(Look()); }
        catch (Gi.GiException error) { Debug.LogError("gi: " + error.Message); session = null; }
    }

    IEnumerator Look()  // what the player sees, once a tick of the policy
    {
        screen = new RenderTexture(Screen.width, Screen.height, 0);
        var tick = new WaitForSecondsRealtime((float)(1 / session.Fps));
        while (!session.IsOver)
        {
            yield return new WaitForEndOfFrame();
            ScreenCapture.CaptureScreenshotIntoRenderTexture(screen);
            AsyncGPUReadback.Request(screen, 0, TextureFormat.RGBA32, read =>
            {
                if (!read.hasError && !session.IsOver) session.Send(read.GetData<byte>().ToArray(), screen.width, screen.height, Gi.Pixels.Rgba, isFlipped: true);
            });
            yield return tick;
        }
    }

    void Update()
    {
        Gi.State state;
        if (session != null && session.Due(out state)) Hold(state);
    }

    void OnDestroy()
    {
        if (session != null) session.Dispose();
        Hold(new Gi.State());
    }

    static void Hold(Gi.State state)  // into the Input System: your bindings see it
    {
        var keys = new KeyboardState();
        foreach (var name in state.Keys) if (Enum.TryParse(UnityName(name), out Key key)) keys.Press(key);
        InputSystem.QueueStateEvent(Keyboard.current ?? InputSystem.AddDevice<Keyboard>(), keys);
        var mouse = new MouseState { delta = new Vector2(state.MotionX, -state.MotionY), scroll = new Vector2(state.WheelX, -state.WheelY) * 120 };
        mouse = mouse.WithButton(MouseButton.Left, (state.Buttons & Gi.MouseButtons.Left) != 0).WithButton(MouseButton.Right, (state.Buttons & Gi.MouseButtons.Right) != 0);
        InputSystem.QueueStateEvent(Mouse.current ?? InputSystem.AddDevice<Mouse>(), mouse);
    }

    static string UnityName(string code)  // "KeyW": W, "ShiftLeft": LeftShift, "ArrowUp": UpArrow, "ControlLeft": LeftCtrl
    {
        foreach (var side in new[] { "Left", "Right", "Up", "Down" })
        {
            if (code == "Arrow" + side) return side + "Arrow";
            if (code.EndsWith(side) && !code.StartsWith("Bracket")) return side + code.Substring(0, code.Length - side.Length).Replace("Control", "Ctrl");
        }
        return code.StartsWith("Key") ? code.Substring(3) : code;
    }
}
