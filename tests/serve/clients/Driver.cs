// What the tests run: Driver URL NUM_FRAMES PERIOD_MS ON_LATE PATIENCE_S RESUME_S RESET_AT; a line for all that happens.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading;

static class Driver
{
    static int Resize(string[] arguments)  // resize WIDTH HEIGHT TO_WIDTH TO_HEIGHT: RGB on stdin, RGB on stdout
    {
        int width = int.Parse(arguments[1]), height = int.Parse(arguments[2]), toWidth = int.Parse(arguments[3]), toHeight = int.Parse(arguments[4]);
        var pixels = new System.IO.MemoryStream();
        Console.OpenStandardInput().CopyTo(pixels);
        var resized = new byte[toWidth * toHeight * 3];
        Gi.Image.Resize(pixels.ToArray(), width, height, Gi.Pixels.Rgb, false, resized, 0, toWidth, toHeight);
        Console.OpenStandardOutput().Write(resized, 0, resized.Length);
        return 0;
    }

    static void Hold(Gi.Session session)
    {
        Gi.State state;
        if (session.Due(out state)) Console.WriteLine("hold{0} {1} {2}", state.Keys.Count > 0 ? " " + string.Join(" ", state.Keys) : "", state.MotionX, state.MotionY);
    }

    static int Main(string[] arguments)
    {
        if (arguments[0] == "resize") return Resize(arguments);
        var options = new Gi.Options
        {
            Seed = 1,
            OnLate = (Gi.OnLate)Enum.Parse(typeof(Gi.OnLate), arguments[3], ignoreCase: true),
            PatienceS = double.Parse(arguments[4], CultureInfo.InvariantCulture),
            ResumeS = double.Parse(arguments[5], CultureInfo.InvariantCulture),
            OnStatus = (kind, words) => Console.WriteLine("status " + kind + ": " + words),
        };
        var session = new Gi.Session(arguments[0], options);
        options.OnAction = action =>
        {
            var state = action.States[0];
            var words = new List<object> { "action", action.Seq, state.MotionX, state.MotionY, state.WheelX, action.IsLate ? 1 : 0, state.WheelY, (int)state.Buttons, state.GamepadButtons };
            foreach (var axis in state.Axes) words.Add(axis.ToString(CultureInfo.InvariantCulture));
            foreach (var trigger in state.Triggers) words.Add(trigger.ToString(CultureInfo.InvariantCulture));
            words.AddRange(state.Keys);
            foreach (var command in state.Commands) words.Add("=" + command.ToString(CultureInfo.InvariantCulture));
            Console.WriteLine(string.Join(" ", words));
            if (action.Seq % 5 == 0) session.Execute("{\"keys\": [\"KeyE\"]}", action.Seq);  // a person held that
        };
        try { session.OpenAsync().Wait(); }
        catch (AggregateException error) { Console.WriteLine("error " + error.InnerException.Message); Environment.Exit(3); }
        int width = session.Width * 2, height = session.Height * 2;
        var pixels = new byte[width * height * 4];
        for (var number = 0; number < int.Parse(arguments[1]) && !session.IsOver; number++)
        {
            if (number == int.Parse(arguments[6])) session.Reset(2);
            for (var at = 0; at < pixels.Length; at += 4) { pixels[at] = (byte)(number / 32 % 31 * 8); pixels[at + 1] = (byte)(number % 32 * 8); pixels[at + 2] = 100; }
            session.Send(pixels, width, height, Gi.Pixels.Rgba);
            for (var waitMs = 0; waitMs < int.Parse(arguments[2]); waitMs += 2)
            {
                Hold(session);
                Thread.Sleep(2);
            }
        }
        session.Dispose();
        Hold(session);
        var counts = session.Counts;
        Console.WriteLine("counts {0} {1} {2} {3} {4} {5}", counts.Sent, counts.Answered, counts.Dropped, counts.Late, counts.Lost, counts.Resumed);
        return 0;
    }
}
