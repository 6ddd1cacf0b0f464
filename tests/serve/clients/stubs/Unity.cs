// What UnityPlayer.cs uses of Unity 2021 and its Input System, declared as they declare it: enough to compile, not to run.
using System;
using System.Collections;

namespace UnityEngine
{
    public class Object { }
    public class YieldInstruction { }
    public class CustomYieldInstruction { }
    public class WaitForEndOfFrame : YieldInstruction { }
    public class WaitForSecondsRealtime : CustomYieldInstruction { public WaitForSecondsRealtime(float seconds) { } }
    public class Coroutine : YieldInstruction { }
    public class MonoBehaviour : Object { public Coroutine StartCoroutine(IEnumerator routine) { return null; } }
    public class Texture : Object { public int width, height; }
    public class RenderTexture : Texture { public RenderTexture(int width, int height, int depth) { } }
    public enum TextureFormat { RGBA32 }
    public static class Screen { public static int width, height; }
    public static class ScreenCapture { public static void CaptureScreenshotIntoRenderTexture(RenderTexture texture) { } }
    public static class Debug { public static void Log(object message) { } public static void LogError(object message) { } }
    public struct Vector2 { public Vector2(float x, float y) { } public static Vector2 operator *(Vector2 vector, float factor) { return vector; } }
}

namespace UnityEngine.Rendering
{
    public struct NativeArray<T> { public T[] ToArray() { return null; } }
    public struct AsyncGPUReadbackRequest { public bool hasError { get { return false; } } public NativeArray<T> GetData<T>(int layer = 0) where T : struct { return default(NativeArray<T>); } }
    public static class AsyncGPUReadback
    {
        public static AsyncGPUReadbackRequest Request(Texture source, int mip, TextureFormat format, Action<AsyncGPUReadbackRequest> then) { return default(AsyncGPUReadbackRequest); }
    }
}

namespace UnityEngine.InputSystem
{
    public enum Key { W, A, S, D, Space, LeftShift, UpArrow, LeftCtrl }
    public class InputDevice { }
    public class Keyboard : InputDevice { public static Keyboard current { get; set; } }
    public class Mouse : InputDevice { public static Mouse current { get; set; } }
    public static class InputSystem
    {
        public static T AddDevice<T>() where T : InputDevice { return null; }
        public static void QueueStateEvent<T>(InputDevice device, T state, double time = -1) where T : struct { }
    }
}

namespace UnityEngine.InputSystem.LowLevel
{
    public enum MouseButton { Left, Right }
    public struct KeyboardState { public void Press(Key key) { } }
    public struct MouseState
    {
        public Vector2 delta, scroll;
        public MouseState WithButton(MouseButton button, bool state = true) { return this; }
    }
}
